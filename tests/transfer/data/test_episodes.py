"""Minari's episodes as rows: the rule of time, spaces, endings, all by numbers written down here."""

import numpy as np
import pytest
from gymnasium import spaces

from expedition import UserError
from transfer.data.datasets import MinariData
from transfer.data.episodes import episode_parts, split_episodes

from .conftest import walk, write_dataset

FLAT = spaces.Box(-np.inf, np.inf, (1,), np.float32)


def three_steps(**changes):
    """Three steps: observations 0 to 3, rewards 10, 20 and 30."""
    episode = {
        "observations": np.arange(4, dtype=np.float32)[:, None],
        "actions": np.array([1, 0, 2]),
        "rewards": [10.0, 20.0, 30.0],
        "terminations": [False, False, False],
        "truncations": [False, False, True],
    }
    return {**episode, **changes}


def read(episode, observed=FLAT, acts=None, image_size=32):
    write_dataset("test/one-v0", [episode], observed, acts or spaces.Discrete(3))
    data = MinariData("test/one-v0", image_size)
    ((place, rows),) = data.pieces()
    assert (place, data.rows) == (0, len(rows["is_first"]))
    return rows


def test_a_row_holds_what_its_action_led_to():
    rows = read(three_steps())
    assert rows["vector"].tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert rows["action"].tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert rows["task/reward"].tolist() == [0.0, 10.0, 20.0, 30.0]
    assert rows["is_first"].tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("terminated", "truncated", "terminal", "last"),
    [
        (True, False, True, True),
        (False, True, False, True),
        (True, True, True, True),
        (False, False, False, False),
    ],
)
def test_death_is_terminal_and_a_cut_is_not(terminated, truncated, terminal, last):
    rows = read(three_steps(terminations=[False, False, terminated], truncations=[False, False, truncated]))
    assert rows["is_terminal"].tolist() == [False, False, False, terminal]
    assert rows["is_last"].tolist() == [False, False, False, last]


def test_actions_of_a_box_are_scaled_to_one_and_clipped():
    acts = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
    actions = np.array([[-2.0, 0.0], [1.0, 7.5], [3.0, 5.0]], np.float32)
    rows = read(three_steps(actions=actions), acts=acts)
    assert rows["action"].tolist() == [[0, 0], [-1, -1], [0.5, 0.5], [1, 0]]


def test_actions_of_a_discrete_that_begins_elsewhere():
    rows = read(three_steps(actions=np.array([5, 7, 6])), acts=spaces.Discrete(3, start=5))
    assert rows["action"][1:].argmax(-1).tolist() == [0, 2, 1]


def test_dicts_tuples_symbols_and_images_come_as_an_adapter_shows_them():
    observed = spaces.Dict(
        {
            "arm": spaces.Dict({"angle": spaces.Box(-1, 1, (2, 1), np.float64)}),
            "key": spaces.Discrete(4, start=2),
            "pair": spaces.Tuple([spaces.MultiBinary(2), FLAT]),
            "view": spaces.Box(0, 255, (16, 16, 1), np.uint8),
        }
    )
    numbers = np.arange(4)
    observations = {
        "arm": {"angle": np.stack([numbers / 4, -numbers / 4], -1)[..., None]},
        "key": np.array([2, 5, 3, 4]),
        "pair": (np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.int8), numbers[:, None].astype(np.float32)),
        "view": np.broadcast_to(60 * numbers[:, None, None, None], (4, 16, 16, 1)).astype(np.uint8),
    }
    rows = read(three_steps(observations=observations), observed, image_size=32)
    assert rows["arm/angle"].dtype == np.float32
    assert rows["arm/angle"].tolist() == [[0.0, 0.0], [0.25, -0.25], [0.5, -0.5], [0.75, -0.75]]
    assert rows["key"].tolist() == [[0], [3], [1], [2]]
    assert rows["pair/0"].tolist() == [[0, 1], [1, 1], [0, 0], [1, 0]]
    assert rows["pair/1"].tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert rows["view"].shape == (4, 32, 32, 3)
    assert [view.min() for view in rows["view"]] == [view.max() for view in rows["view"]] == [0, 60, 120, 180]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"observations": np.zeros((3, 1), np.float32)},
            r"Episode 0 of .*'test/one-v0' does not fit its spaces",
        ),
        ({"observations": np.full((4, 1), np.nan, np.float32)}, "numbers in 'vector' that are not finite"),
        ({"actions": np.array([0, 3, 1])}, "an action is not one of Discrete\(3\)"),
        ({"actions": np.array([0, 1])}, "not as many actions and endings as rewards"),
    ],
)
def test_an_episode_that_is_not_whole_is_refused_in_a_sentence(changes, message):
    with pytest.raises(UserError, match=message) as error:
        read(three_steps(**changes))
    assert "\n" not in str(error.value)


def test_episodes_follow_one_another():
    write_dataset(
        "test/two-v0", [walk(5, 0, True), walk(3, 1, False)], spaces.Box(-9, 9, (4,)), spaces.Discrete(2)
    )
    pieces = list(MinariData("test/two-v0", 32).pieces())
    assert [place for place, _ in pieces] == [0, 6]
    assert [len(rows["is_first"]) for _, rows in pieces] == [6, 4]


def lane(firsts):
    is_first = np.array(firsts, bool)
    return {"is_first": is_first, "number": np.arange(len(firsts))}


def test_rows_are_cut_before_every_first_one():
    rows = lane([0, 0, 1, 0, 0, 1, 1, 0])
    pieces = [
        {name: values[a:b] for name, values in rows.items()} for a, b in ((0, 1), (1, 4), (4, 6), (6, 8))
    ]
    found = [episode["number"].tolist() for episode in split_episodes(pieces)]
    assert found == [[0, 1], [2, 3, 4], [5], [6, 7]]


def test_an_end_that_was_not_lived_to_is_a_cut():
    rows = {
        "vector": np.arange(3, dtype=np.float32)[:, None],
        "action": np.array([[0, 0], [0, 1], [1, 0]], np.float32),
        "task/reward": np.array([0.0, 5.0, 6.0], np.float32),
        "task/other": np.array([0.0, 7.0, 8.0], np.float32),
        "prior/logits": np.zeros((3, 2), np.float32),
        **{name: np.zeros(3, bool) for name in ("is_first", "is_last", "is_terminal")},
    }
    parts = episode_parts(rows, ["vector"], spaces.Discrete(2))
    assert parts["actions"].tolist() == [1, 0]
    assert parts["rewards"].tolist() == [5.0, 6.0]
    assert (parts["terminations"].tolist(), parts["truncations"].tolist()) == ([False, False], [False, True])
    assert list(parts["infos"]) == ["task"]
    assert parts["infos"]["task"]["other"].tolist() == [0.0, 7.0, 8.0]
    dead = {**rows, "is_last": np.array([0, 0, 1], bool), "is_terminal": np.array([0, 0, 1], bool)}
    parts = episode_parts(dead, ["vector"], spaces.Discrete(2))
    assert (parts["terminations"].tolist(), parts["truncations"].tolist()) == ([False, True], [False, False])
