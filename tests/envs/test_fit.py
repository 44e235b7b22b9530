"""What an environment shows is held against the space that it declared."""

import numpy as np
import pytest
from gymnasium import spaces

from envs.failures import Misfit
from envs.fit import BoxFit, FiniteFit, entry, fit, row_fit

PICTURE = spaces.Box(0, 255, (4, 4, 3), np.uint8)
VECTOR = spaces.Box(-1, 1, (3,), np.float32)
CODES = spaces.Box(0, 9, (3,), np.int64)


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (PICTURE, np.full((4, 4, 3), 255, np.uint8)),
        (PICTURE, np.full((4, 4, 3), 255, np.int64)),
        (PICTURE, np.ones((4, 4, 3), bool)),
        (VECTOR, np.array([0.0, 0.5, 7.0])),  # float64 beyond its bounds: many environments do so
        (VECTOR, [0, 1, 0]),
        (CODES, np.array([0, 9, 3], np.uint8)),
        (spaces.Discrete(4, start=2), np.int64(5)),
        (spaces.MultiBinary(2), np.array([0, 1], np.int8)),
        (spaces.Discrete(4, start=2), np.array(2, np.uint8)),
        (spaces.MultiBinary((2, 2)), np.ones((2, 2), bool)),
        (spaces.MultiDiscrete([3, 2], start=[1, 0]), [3, 1]),
    ],
)
def test_what_says_the_same_is_taken(space, shown):
    fit(space, "seen")(shown)


@pytest.mark.parametrize(
    ("space", "shown", "problem"),
    [
        (PICTURE, np.full((4, 4, 3), 0.5), "'seen' holds float64 where its space says uint8"),
        (PICTURE, np.full((4, 4, 3), 256), "holds 256 where its space says whole numbers from 0 to 255"),
        (PICTURE, np.full((4, 4, 3), -1), "holds -1"),
        (PICTURE, np.zeros((3, 4, 4), np.uint8), r"has the shape \(3, 4, 4\).*says the shape \(4, 4, 3\)"),
        (spaces.Box(0, 9, (2,), np.uint8), np.array([3, 10], np.uint8), "holds 10"),
        (VECTOR, np.zeros(1), r"has the shape \(1,\)"),
        (VECTOR, np.array(["a", "b", "c"]), "holds <U1 where its space says float32"),
        (VECTOR, None, r"has the shape \(\)"),
        (CODES, np.array([1.0, 2.5, 3.0]), "holds float64 where its space says int64"),
        (spaces.Discrete(4), -1, "'seen' holds -1 where its space says whole numbers from 0 to 3"),
        (spaces.Discrete(4, start=2), 6, "holds 6 where its space says whole numbers from 2 to 5"),
        (spaces.Discrete(4), 1.0, "holds float64"),
        (spaces.MultiDiscrete([2, 3]), np.array([2, 0]), "holds 2"),
        (spaces.MultiDiscrete([3, 2], start=[1, 0]), [0, 1], "holds 0"),
        (spaces.MultiDiscrete([2, 2], dtype=np.uint8), np.zeros(3, np.uint8), r"has the shape \(3,\)"),
        (spaces.MultiBinary(2), [0, 2], "holds 2"),
    ],
)
def test_what_says_something_else_is_refused(space, shown, problem):
    with pytest.raises(Misfit, match=problem):
        fit(space, "seen")(shown)


def test_a_vector_of_a_row_is_finite():
    fits = FiniteFit(VECTOR, "seen")
    whole = fits(np.array([3e38, -3e38, 1e-45]))
    assert (whole.dtype, whole.tolist()) == (np.float32, np.array([3e38, -3e38, 1e-45], np.float32).tolist())
    with pytest.raises(Misfit, match="shape"):
        fits(np.zeros((1, 3), np.float32))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])  # the last overflows
def test_what_is_not_finite_is_refused_wherever_it_stands(bad):
    for at in range(3):
        shown = np.zeros(3)
        shown[at] = bad
        with pytest.raises(Misfit, match=f"'seen' is -?(nan|inf) at {at}; show finite numbers"):
            FiniteFit(VECTOR, "seen")(shown)


def test_only_vectors_of_a_row_are_asked_to_be_finite():
    assert isinstance(row_fit(VECTOR, "seen"), FiniteFit)
    for space in (PICTURE, CODES, spaces.MultiDiscrete([2, 3], dtype=np.uint8)):
        assert type(row_fit(space, "seen")) is BoxFit


def test_an_entry():
    assert entry({"a": 1}, "a") == 1
    assert entry((5, 6), 1) == 6
    with pytest.raises(Misfit, match="no entry 'a'; show"):
        entry({}, "a")
    with pytest.raises(Misfit, match="no entry '2'"):
        entry((5, 6), 2)
    with pytest.raises(Misfit, match=r"no entry 'a' \(it is a ndarray\)"):
        entry(np.zeros(2), "a")
