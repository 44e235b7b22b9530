"""What was reached is joined over episodes, and the particle entropy is what its sources say."""

import json
import math

import gymnasium
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.special import digamma, gamma

from expedition import UserError
from exploration import Coverage, CoverageConfig, particle_entropy
from exploration.coverage import RESOLUTION, RandomProjection

PICTURES = gymnasium.spaces.Dict({"image": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)})
VECTORS = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)})


def coverage(rows=64, neighbours=3, reachable=None, seed=0, space=VECTORS, features=4):
    return Coverage(space, CoverageConfig(rows, features, neighbours), reachable, seed)


def vectors(count, seed=0, scale=1.0):
    drawn = np.random.default_rng(seed).standard_normal((count, 5)) * scale
    return {"vector": drawn.astype(np.float32), "is_first": np.zeros(count, bool)}


# The entropy


def test_three_points_on_a_line_worked_by_hand():
    # nearest distances 1, 1 and 2; volume 2; log(n V R / k) + log(k) - digamma(k), digamma(1) = -0.5772...
    expected = math.log(3) + math.log(2) + math.log(2) / 3 + 0.5772156649
    assert particle_entropy(np.array([[0.0], [1.0], [3.0]]), 1) == pytest.approx(expected, rel=1e-6)
    # second neighbours: 3, 2 and 3; digamma(2) = 1 - 0.5772...
    expected = math.log(3) + math.log(2) + math.log(18) / 3 - (1 - 0.5772156649)
    assert particle_entropy(np.array([[0.0], [1.0], [3.0]]), 2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("width", "neighbours"), [(1, 1), (3, 4), (8, 12)])
def test_against_distances_of_a_tree(width, neighbours):
    points = np.random.default_rng(width).uniform(size=(200, width)).astype(np.float32)
    distances = cKDTree(points).query(points, neighbours + 1)[0][:, -1]
    ball = math.pi ** (width / 2) / gamma(width / 2 + 1)
    terms = np.log(200 * ball * (distances + 0.1) ** width / neighbours)
    expected = terms.mean() + math.log(neighbours) - digamma(neighbours)
    assert particle_entropy(points, neighbours, 0.1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("width", [1, 4])
def test_of_a_normal_density_it_is_the_known_one(width):
    points = 3 * np.random.default_rng(0).standard_normal((1500, width))
    known = width / 2 * math.log(2 * math.pi * math.e * 9)
    assert particle_entropy(points, 12) == pytest.approx(known, abs=0.1)


def test_close_points_far_from_the_origin_keep_their_distances():
    points = 1000 + np.arange(40, dtype=np.float32)[:, None] / 64
    near = particle_entropy(points - 1000, 2)
    assert particle_entropy(points, 2) == pytest.approx(near, rel=1e-6)


def test_equal_points_have_the_entropy_of_the_resolution():
    assert particle_entropy(np.zeros((9, 2)), 1, 0.5) == pytest.approx(
        math.log(9 * math.pi * 0.25) + 0.5772156649
    )


@pytest.mark.parametrize("neighbours", [0, 3])
def test_too_few_points(neighbours):
    with pytest.raises(ValueError, match="3 points have 1 to 2 neighbours"):
        particle_entropy(np.zeros((3, 2)), neighbours)


# The features


def test_features_keep_mean_squared_differences_of_pixels():
    pictures = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    pictures[1] = pictures[0]
    found = RandomProjection(PICTURES, 2000)({"image": pictures})
    true = np.square(pictures[:1] / 255.0 - pictures / 255.0).mean((1, 2, 3))
    assert np.square(found[0] - found).sum(-1) == pytest.approx(true, rel=0.15)
    assert not (found[0] - found[1]).any()


def test_features_of_vectors_are_of_symlog_units_and_average_over_keys():
    space = gymnasium.spaces.Dict({**PICTURES.spaces, **VECTORS.spaces})
    rows = {"image": np.zeros((2, 16, 16, 3), np.uint8), "vector": np.zeros((2, 5), np.float32)}
    rows["vector"][1] = [math.e - 1, 0, -(math.e**2 - 1), 0, 0]  # 1 and -2 in symlog units
    found = RandomProjection(space, 4000)(rows)
    assert np.square(found[0] - found[1]).sum() == pytest.approx((1 + 4) / 5 / 2, rel=0.1)


def test_features_of_symbols_count_those_that_differ():
    space = gymnasium.spaces.Dict({"cells": gymnasium.spaces.MultiDiscrete([4, 4, 2, 4], dtype=np.uint8)})
    rows = {"cells": np.array([[0, 1, 0, 3], [0, 3, 1, 3]], np.uint8)}  # of 16 ones and zeros four differ
    found = RandomProjection(space, 4000)(rows)
    assert np.square(found[0] - found[1]).sum() == pytest.approx(4 / 16, rel=0.1)


def test_features_are_those_of_every_run():
    one, other = coverage(seed=0), coverage(seed=1)
    for it in (one, other):
        it.see(vectors(30))
    assert one.entropy() == other.entropy()


# The rows


def test_more_spread_more_entropy():
    found = []
    for scale in (0.0, 0.1, 1.0):
        it = coverage()
        it.see(vectors(50, scale=scale))
        found.append(it.entropy())
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_until_it_is_full_it_holds_every_row():
    it, project = coverage(rows=10), RandomProjection(VECTORS, 4)
    for seed in range(3):
        it.see(vectors(3, seed))
    rows = np.concatenate([vectors(3, seed)["vector"] for seed in range(3)])
    expected = particle_entropy(project({"vector": rows}), 3, RESOLUTION)
    assert it.entropy() == pytest.approx(expected)


def test_each_row_of_a_run_is_kept_equally_likely():
    # Rows are their own numbers; 400 runs of 20 rows keep 5 each, so each number 100 times in the mean.
    space = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)})
    counts = np.zeros(20)
    number = np.expm1(np.arange(20, dtype=np.float32))[:, None]
    slope = RandomProjection(space, 1)({"vector": number[1:2]})[0, 0]
    for seed in range(400):
        it = coverage(rows=5, space=space, features=1, seed=seed)
        for at in range(0, 20, 2):
            it.see({"vector": number[at : at + 2]})
        kept = np.rint(it.state_dict()["points"][:, 0] / slope).astype(int)
        assert len(set(kept)) == 5
        counts[kept] += 1
    # 99.99 % of a binomial's draws: 100 +- 3.9 * sqrt(400 * 0.25 * 0.75)
    assert abs(counts - 100).max() < 3.9 * math.sqrt(75)


def test_too_few_rows_have_no_entropy():
    it = coverage(neighbours=3)
    it.see(vectors(3))
    assert it.entropy() is None
    assert it.metrics() == {}
    none = coverage(rows=0)
    none.see(vectors(30))
    assert none.entropy() is None


# The things


def test_things_are_joined_over_episodes():
    it = coverage(reachable=4)
    assert it.result()["reached"] is None  # not told
    it.reach([])
    assert it.metrics() == {"reached": 0.0, "reached_share": 0.0, "reached_per_episode": 0.0}
    it.reach(["stone", "wood"])
    it.reach(["wood", "coal", "coal"])
    # 0, 2 and 2 things in three episodes
    assert it.metrics() == {"reached": 3.0, "reached_share": 0.75, "reached_per_episode": 4 / 3}
    assert it.result() == {
        "reached": ["coal", "stone", "wood"],
        "episodes": {"coal": 1, "stone": 1, "wood": 2},
        "reachable": 4,
        "share": 0.75,
        "particle_entropy": None,
    }


def test_no_share_where_nobody_knows_of_how_much():
    it = coverage()
    it.reach(["1:1"])
    assert it.metrics() == {"reached": 1.0, "reached_per_episode": 1.0}


def test_restored_it_goes_on_as_if_it_had_never_stopped():
    one, other = coverage(rows=16), coverage(rows=16, seed=9)
    for seed in range(20):
        one.see(vectors(3, seed))
    one.reach(["a"])
    state = one.state_dict()
    json.dumps({key: value for key, value in state.items() if key != "points"})
    other.load_state_dict({**state, "points": state["points"].copy()})
    for it in (one, other):
        for seed in range(20, 60):
            it.see(vectors(3, seed))
        it.reach(["b"])
    assert one.result() == other.result()
    assert one.metrics() == other.metrics()
    assert one.result()["reached"] == ["a", "b"]


@pytest.mark.parametrize(("name", "value"), [("rows", -1), ("features", 0), ("neighbours", 0)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=f"coverage.{name} is {value}"):
        CoverageConfig(**{name: value})


@pytest.mark.parametrize("missing", ["episodes", "ended"])
def test_a_state_that_did_not_count_is_refused(missing):
    state = {name: value for name, value in coverage().state_dict().items() if name != missing}
    with pytest.raises(UserError, match="begin the run anew"):
        coverage().load_state_dict(state)
