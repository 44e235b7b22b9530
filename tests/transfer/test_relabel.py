"""Which recorded reward is the task's."""

import pytest

from expedition import UserError
from transfer.relabel import recorded_reward

MAZE = "mazes-goal,size=7,observe=symbols"


@pytest.mark.parametrize(
    ("source", "env", "recorded", "found"),
    [
        ("crafter", "crafter", {"reward"}, "reward"),
        ("CartPole-v1", "CartPole-v1", {"reward"}, "reward"),
        (MAZE, MAZE, {"reward", "collect"}, "reward"),
        (MAZE, "mazes-collect,observe=symbols,size=7", {"reward", "collect"}, "collect"),
        ("mazes-goal,loops=0", "mazes-collect", {"reward", "collect"}, "collect"),  # the default, spelled out
        ("robodesk-stack", "robodesk-open_slide", {"reward", "stack", "open_slide"}, "open_slide"),
        ("robodesk-stack", "robodesk-stack", {"reward", "stack", "open_slide"}, "reward"),
        ("dmc-walker-walk", "dmc-walker-run", {"reward", "run", "stand"}, "run"),
    ],
)
def test_the_name_follows_from_the_ids(source, env, recorded, found):
    assert recorded_reward(source, env, recorded, None) == found


@pytest.mark.parametrize(
    ("source", "env", "asked", "sentence"),
    [
        (
            "crafter",
            "catch-pixels",
            None,
            r"recorded no reward of 'catch-pixels'.*\(recorded are: collect, rew",
        ),
        ("dmc-walker-walk", "dmc-quadruped-run", None, "recorded no reward of 'dmc-quadruped-run'"),
        ("mazes-goal", "mazes-collect,num_levels=5", None, "those of its options, not of .*relabel:NAME"),
        ("mazes-goal", "mazes-goal,limit=9", None, "those of its options, not of .*relabel:NAME"),
        ("mazes-goal", "mazes-collect", "colect", "Unknown recorded reward 'colect': did you mean collect"),
    ],
)
def test_what_was_not_recorded_is_told_in_one_sentence(source, env, asked, sentence):
    with pytest.raises(UserError, match=sentence):
        recorded_reward(source, env, {"reward", "collect"}, asked)


def test_whoever_knows_better_names_the_reward():
    assert (
        recorded_reward("mazes-goal", "mazes-collect,num_levels=5", {"reward", "collect"}, "collect")
        == "collect"
    )
