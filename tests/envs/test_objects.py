"""Sets of objects and what points at them: how environments declare them, and how learners see them."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import tests.blocks
from envs import make, make_vector
from envs.adapter import adapt
from expedition import UserError
from expedition.pointing import Pointing

BLOCKS = "tests.blocks:Blocks-v0"


def test_rows_masks_and_pointers_arrive():
    env = make(f"{BLOCKS},objects=5")
    assert env.observation_space == spaces.Dict(
        {
            "objects": spaces.Box(-np.inf, np.inf, (5, 2), np.float32),
            "objects_mask": spaces.MultiDiscrete([2] * 5, dtype=np.uint8),
        }
    )
    assert env.action_space == Pointing([2, 5], {1: "objects"})
    assert env.action_space != spaces.MultiDiscrete([2, 5])
    seen, _ = env.reset(seed=0)
    assert seen["objects"].shape == (5, 2)
    assert seen["objects_mask"].dtype == np.uint8
    assert seen["objects_mask"].sum() == 3
    assert env.step(np.array([1, 4]))[0]["objects"].dtype == np.float32


def test_a_box_that_is_no_entry_is_a_vector():
    class Bare(tests.blocks.Blocks):
        pointers = {}

        def __init__(self):
            super().__init__()
            self.observation_space = self.observation_space["objects"]

        def _look(self):
            return super()._look()["objects"]

    env = adapt(Bare())
    assert env.observation_space["vector"].shape == (8,)
    assert env.reset(seed=0)[0]["vector"].shape == (8,)


@pytest.mark.parametrize("pointers", [{0: "objects"}, {1: "objects_mask"}, {1: "tools"}, {2: "objects"}])
def test_pointers_at_nothing_are_refused(pointers):
    class Lost(tests.blocks.Blocks):
        pass

    Lost.pointers = pointers
    with pytest.raises(UserError, match=r"name a factor of a MultiDiscrete and a float32 Box \(n, d\)"):
        adapt(Lost())


def test_a_wrapper_may_say_what_points():
    class Bare(tests.blocks.Blocks):
        pointers = {}

    class Says(gymnasium.Wrapper):
        pointers = {1: "objects"}

    assert not isinstance(adapt(Bare()).action_space, Pointing)
    assert adapt(Says(Bare())).action_space == Pointing([2, 4], {1: "objects"})


def test_an_action_space_tells_what_it_points_at():
    assert str(Pointing([2, 5], {1: "objects"})) == "MultiDiscrete(2, 5 of objects)"


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_of_several_environments(workers):
    envs = make_vector(BLOCKS, 2, workers=workers)
    try:
        assert envs.action_space == Pointing([2, 4], {1: "objects"})
        rows = envs.reset(0)
        assert rows["objects"].shape == (2, 4, 2)
        assert rows["objects_mask"].shape == (2, 4)
        assert envs.step(np.array([[0, 1], [1, 3]]))["objects"].dtype == np.float32
    finally:
        envs.close()


def test_what_is_not_finite_is_told():
    class Broken(tests.blocks.Blocks):
        def _look(self):
            seen = super()._look()
            seen["objects"][1, 1] = np.nan
            return seen

    gymnasium.register("Broken-v0", entry_point=Broken)
    envs = make_vector("Broken-v0", 1)
    try:
        with pytest.raises(UserError, match="'objects' is nan at 3; show finite numbers"):
            envs.reset(0)
    finally:
        del gymnasium.registry["Broken-v0"]
        envs.close()
