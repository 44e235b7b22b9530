import numpy as np
import pytest
from gymnasium import spaces

from expedition import UserError
from expedition.pointing import Pointing
from world_model import (
    action_factors,
    action_width,
    split_observations,
    to_env_actions,
    to_learner_actions,
)
from world_model.spaces import action_pointers


def test_images_vectors_and_symbols_are_told_apart():
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (64, 48, 3), np.uint8),
            "vector": spaces.Box(-1, 1, (5,), np.float32),
            "cells": spaces.MultiDiscrete([3, 2], dtype=np.uint8),
        }
    )
    assert split_observations(space) == ({"image": (64, 48, 3)}, {"vector": 5}, {"cells": (3, 2)}, {})


def test_sets_of_objects_come_with_the_mask_that_fits():
    two = spaces.MultiDiscrete([2, 2, 2], dtype=np.uint8)
    rows = spaces.Box(-1, 1, (3, 4), np.float32)
    space = spaces.Dict(
        {"blocks": rows, "blocks_mask": two, "tools": rows, "tools_mask": spaces.MultiDiscrete([2, 3])}
    )
    observed = split_observations(space)
    assert observed.objects == {"blocks": (3, 4, "blocks_mask"), "tools": (3, 4, None)}
    assert observed.symbols == {"tools_mask": (2, 3)}


def test_factors_that_point():
    assert action_pointers(Pointing([2, 3], {1: "blocks"})) == (None, "blocks")
    assert action_pointers(spaces.MultiDiscrete([2, 3])) == (None, None)
    assert action_pointers(spaces.Box(-1, 1, (3,))) == ()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (spaces.Box(0, 1, (4, 4, 3), np.float32), "give a uint8 image"),
        (spaces.Box(0, 255, (7,), np.uint8), "give a uint8 image"),
        (spaces.MultiDiscrete([3, 2], start=[1, 0]), "one-dimensional MultiDiscrete from 0"),
        (spaces.MultiDiscrete([[3, 2]]), "one-dimensional MultiDiscrete from 0"),
        (spaces.Box(0, 255, (60, 64, 3), np.uint8), "60x64: its sides must be multiples of 16"),
    ],
)
def test_what_cannot_be_read_is_named(box, words):
    with pytest.raises(UserError, match=words) as error:
        split_observations(spaces.Dict({"odd": box}))
    assert "'odd'" in str(error.value)


def test_action_width():
    assert action_width(spaces.Discrete(6)) == 6
    assert action_width(spaces.Box(-1, 1, (3,))) == 3
    assert action_width(spaces.MultiDiscrete([2, 3])) == 5


def test_factors():
    assert action_factors(spaces.Discrete(6)) == (6,)
    assert action_factors(spaces.MultiDiscrete([2, 3])) == (2, 3)
    assert action_factors(spaces.Box(-1, 1, (3,))) == ()


class TestBetweenEnvironmentAndLearner:
    def test_discrete(self):
        one_hot = np.eye(4, dtype=np.float32)[[2, 0]]
        assert to_env_actions(one_hot, spaces.Discrete(4)).tolist() == [2, 0]
        assert np.array_equal(to_learner_actions([2, 0], spaces.Discrete(4)), one_hot)

    def test_box(self):
        box, values = spaces.Box(-1, 1, (2,)), np.array([[0.5, -1]], np.float32)
        assert to_env_actions(values, box) is values
        assert np.array_equal(to_learner_actions(values, box), values)

    def test_factors_stand_in_a_row(self):
        space = spaces.MultiDiscrete([2, 3])
        wide = np.array([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]], np.float32)
        assert to_env_actions(wide, space).tolist() == [[1, 2], [0, 0]]
        found = to_learner_actions([[1, 2], [0, 0]], space)
        assert found.dtype == np.float32
        assert np.array_equal(found, wide)

    @pytest.mark.parametrize("number", [[[0, 3]], [[2, 0]], [[-1, 0]]])
    def test_numbers_beyond_a_factor_are_refused(self, number):
        with pytest.raises(ValueError, match="not one of"):
            to_learner_actions(number, spaces.MultiDiscrete([2, 3]))


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([2, 3], start=[1, 0]), spaces.MultiBinary(2), spaces.Box(-1, 1, (2, 2))]
)
def test_other_actions_are_refused(space):
    with pytest.raises(UserError, match="not supported"):
        action_width(space)
