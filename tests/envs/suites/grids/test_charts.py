"""Charts show what `reached` names where it lies."""

import numpy as np
import pytest

from envs import charts, make

FEW = ("mazes-goal,size=9,num_levels=3,start_level=4", "minipacman,num_levels=2", "maze-pixels")
MANY = ("mazes-goal", "minipacman", "mazes-goal,num_levels=101", "crafter", "CartPole-v1")


@pytest.mark.parametrize("env_id", FEW)
def test_what_episodes_reach_lies_on_a_chart(env_id):
    there = {name for chart in charts(env_id) for name in chart.cells}
    env, reached = make(env_id), set()
    for seed in range(3):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            over = terminated or truncated
        reached |= set(info["reached"])
    assert reached
    assert reached <= there


@pytest.mark.parametrize("env_id", FEW)
def test_a_cell_is_floor_in_the_picture_and_the_others_are_walls(env_id):
    for chart in charts(env_id):
        rows = (np.arange(chart.rows) + 0.5) * len(chart.picture) / chart.rows
        columns = (np.arange(chart.columns) + 0.5) * len(chart.picture) / chart.columns
        colours = chart.picture[np.ix_(rows.astype(int), columns.astype(int))]
        wall = tuple(colours[0, 0])
        free = {(y, x) for y, x in np.ndindex(colours.shape[:2]) if tuple(colours[y, x]) != wall}
        assert set(chart.cells.values()) == free


def test_levels_are_called_by_their_numbers():
    assert [chart.name for chart in charts(FEW[0])] == ["level 4", "level 5", "level 6"]


@pytest.mark.parametrize("env_id", MANY)
def test_without_few_fixed_places_there_are_none(env_id):
    assert charts(env_id) == []
