import math

import numpy as np
import pytest

from envs.suites.construction.blocks import Block
from envs.suites.construction.shapes import Box, area, corners, covered, holds, overlap, span


def block(x, y, width, height=0.7, angle=0.0):
    return Block(x, y, angle, 0.0, 0.0, 0.0, width, height, False, 1)


def test_overlaps_worked_by_hand():
    one = Box(0.0, 0.0, 2.0, 2.0)
    assert overlap(one, one) == pytest.approx(4.0)
    assert overlap(one, Box(1.0, 0.5, 2.0, 2.0)) == pytest.approx(1.0 * 1.5)
    assert overlap(one, Box(5.0, 0.0, 2.0, 2.0)) == 0.0
    assert overlap(one, Box(2.0, 0.0, 2.0, 2.0)) == pytest.approx(0.0)  # edge to edge
    # a square turned by 45 degrees in itself leaves the regular octagon, 2 (sqrt 2 - 1) of the side squared
    turned = block(0.0, 0.0, 2.0, 2.0, math.pi / 4)
    assert overlap(one, turned) == pytest.approx(4.0 * 2 * (math.sqrt(2) - 1))
    assert overlap(one, block(0.3, 0.2, 0.5, 0.5, 0.7)) == pytest.approx(0.25)  # inside


def test_overlaps_are_shapelys():
    geometry = pytest.importorskip("shapely.geometry")
    rng, met = np.random.default_rng(0), 0
    for _ in range(500):
        one, other = (
            block(*rng.uniform(-1, 1, 2), *rng.uniform(0.3, 3, 2), rng.uniform(-4, 4)) for _ in range(2)
        )
        theirs = geometry.Polygon(corners(one)).intersection(geometry.Polygon(corners(other))).area
        assert overlap(one, other) == pytest.approx(theirs, abs=1e-9)
        assert overlap(other, one) == pytest.approx(theirs, abs=1e-9)
        met += theirs > 0
    assert 100 < met < 500


def test_corners_run_against_the_clock():
    for angle in (0.0, 0.5, 3.0):
        assert area(corners(block(3.0, -1.0, 2.0, 0.5, angle))) == pytest.approx(1.0)
    quarter = corners(block(1.0, 1.0, 2.0, 1.0, math.pi / 2))
    np.testing.assert_allclose(quarter, [(1.5, 0), (1.5, 2), (0.5, 2), (0.5, 0)], atol=1e-12)


def test_points_inside():
    upright, turned = block(0, 0, 2, 1), block(0, 0, 2, 1, math.pi / 2)
    assert holds(upright, (0.9, 0.4))
    assert holds(upright, (1.0, 0.5))
    assert not holds(upright, (0.4, 0.9))
    assert holds(turned, (0.4, 0.9))
    assert not holds(turned, (0.9, 0.4))


def test_covered_lengths_worked_by_hand():
    obstacle = Box(0.0, 1.0, 4.0, 0.4)  # from -2 to 2
    assert covered(obstacle, []) == 0
    assert covered(obstacle, [block(0.0, 2.0, 1.0)]) == pytest.approx(1.0)
    assert covered(obstacle, [block(0.0, 0.3, 1.0)]) == 0  # below it
    assert covered(obstacle, [block(2.0, 2.0, 1.0)]) == pytest.approx(0.5)  # half beyond its end
    both = [block(-1.0, 2.0, 1.0), block(1.0, 3.0, 1.0)]
    assert covered(obstacle, both) == pytest.approx(2.0)
    assert covered(obstacle, [*both, block(-0.8, 5.0, 1.0)]) == pytest.approx(2.2)  # overlaps count once
    assert covered(obstacle, [*both, block(-1.0, 5.0, 0.5)]) == pytest.approx(2.0)  # inside another
    assert covered(obstacle, [block(0.0, 2.0, 9.0)]) == pytest.approx(4.0)


def test_a_tilted_block_covers_what_lies_below_it():
    tilted = block(0.0, 3.0, 2.0, 1.0, math.pi / 6)
    xs = [x for x, _ in corners(tilted)]
    assert span(tilted) == pytest.approx((min(xs), max(xs)))
    width = 2 * math.cos(math.pi / 6) + math.sin(math.pi / 6)
    assert covered(Box(0.0, 1.0, 8.0, 0.4), [tilted]) == pytest.approx(width)
