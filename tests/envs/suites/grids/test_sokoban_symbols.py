"""What Sokoban shows of a grid in envpool's codes; envpool itself is not needed."""

import numpy as np
import pytest

from envs import environment_info
from envs.suites.grids import sokoban
from envs.suites.grids.sokoban import CODES, Sokoban

NOTHING, WALL, TARGET, AGENT, BOX = range(5)  # envpool's codes
GRID = {
    "floor": (NOTHING, NOTHING),
    "wall": (NOTHING, WALL),
    "box": (BOX, NOTHING),
    "agent": (AGENT, NOTHING),
    "target": (NOTHING, TARGET),
    "box on target": (BOX, TARGET),
    "agent on target": (AGENT, TARGET),
}


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Makes one that shows every kind of cell in its first row, and floor below."""
    monkeypatch.setattr(sokoban, "_folder", lambda: tmp_path)

    def made(**options):
        env = Sokoban(**options)
        env._cells[0, : len(GRID)] = list(GRID.values())
        return env

    return made


def test_every_kind_of_cell_has_its_number(make):
    env = make(observe="symbols")
    seen = env._observe()
    assert env.observation_space.contains(seen)
    assert [CODES[code] for code in seen["cells"][: len(GRID)]] == list(GRID)
    assert set(seen["cells"][len(GRID) :]) == {0}


def test_symbols_are_drawn_as_the_picture(make):
    draw = environment_info("sokoban,observe=symbols").draw
    assert np.array_equal(draw(make(observe="symbols")._observe()), make(image_size=120)._observe()["image"])
    space = make(observe="symbols").observation_space
    space.seed(0)
    assert draw(space.sample()).shape == (120, 120, 3)
    assert environment_info("sokoban").draw is None
