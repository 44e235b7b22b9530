import math

import pytest

from envs.suites.construction.blocks import FIXED, Block
from envs.suites.construction.shapes import Box, overlap

pytest.importorskip("pymunk")
from envs.suites.construction import physics
from envs.suites.construction.physics import settle

SMALL, MEDIUM, LARGE = 0.7, 2.1, 3.5


def put(x, y, width=SMALL, *, sticky=False, group=1, vy=0.0, spin=0.0):
    return Block(x, y, 0.0, 0.0, vy, spin, width, 0.7, sticky, group)


def build(*blocks, obstacles=()):
    """Place blocks one after the other."""
    placed = ()
    for number, block in enumerate(blocks):
        placed, hit = settle((*placed, block._replace(group=number + 1)), obstacles)
        assert not hit
    return placed


def at_rest(block):
    return (block.vx, block.vy, block.spin) == (0, 0, 0)


def test_a_block_falls_to_the_floor_and_rests():
    (block,) = build(put(1.0, 5.0))
    assert (block.x, block.y) == (pytest.approx(1.0, abs=0.01), pytest.approx(0.35, abs=0.02))
    assert block.angle == pytest.approx(0, abs=0.02)
    assert at_rest(block)


def test_a_tower_of_twelve_stands_and_does_not_sink():
    tower = build(*(put(0.0, 0.37 + 0.7 * i) for i in range(12)))
    for i, block in enumerate(tower):
        assert block.x == pytest.approx(0, abs=0.05)
        assert block.y == pytest.approx(0.35 + 0.7 * i, abs=0.04)
        assert at_rest(block)
    assert max(overlap(a, b) for a in tower for b in tower if a is not b) < 0.01


@pytest.mark.parametrize(("x", "stands"), [(0.25, True), (-0.3, True), (0.4, False), (-0.45, False)])
def test_a_block_whose_middle_is_not_supported_tips_over(x, stands):
    _, upper = build(put(0.0, 0.36), put(x, 1.08, MEDIUM))
    assert (upper.y == pytest.approx(1.05, abs=0.02)) == stands
    assert (abs(upper.angle) < 0.02) == stands


def test_weight_on_one_end_tips_a_seesaw():
    stable = build(put(0.0, 0.36), put(0.0, 1.08, MEDIUM))
    assert abs(stable[1].angle) < 0.02
    tipped = build(put(0.0, 0.36), put(0.0, 1.08, MEDIUM), put(1.4, 1.8, LARGE))
    assert abs(tipped[1].angle) > 0.1


def test_glue_holds_what_would_tip_over():
    base, arm, end = build(put(0.0, 0.36, sticky=True), put(1.2, 1.08, MEDIUM), put(1.9, 1.8, sticky=True))
    assert base.group == arm.group == FIXED  # the base is glued to the floor and to the arm
    assert (arm.x, arm.y) == (pytest.approx(1.2, abs=0.01), pytest.approx(1.05, abs=0.02))
    assert end.group == FIXED
    assert end.y == pytest.approx(1.75, abs=0.02)


def test_glued_blocks_move_as_one():
    """A wide sticky block on a loose pillar tips over and takes it along."""
    pillar, arm = build(put(0.0, 0.36), put(1.2, 1.08, MEDIUM, sticky=True))
    assert pillar.angle == pytest.approx(arm.angle)
    assert pillar.angle < -0.2
    assert overlap(pillar, arm) < 0.02


def test_glue_sticks_to_later_blocks_too():
    base, late = build(put(0.0, 0.36, sticky=True), put(0.5, 1.08, MEDIUM))
    assert base.group == late.group == FIXED


@pytest.mark.parametrize("sticky", [False, True])
def test_touching_an_obstacle_is_told(sticky):
    obstacle = Box(0.0, 0.35, 2.0, 0.35)
    assert settle([put(0.0, 2.0, sticky=sticky)], [obstacle]).hit
    assert not settle([put(3.0, 2.0, sticky=sticky)], [obstacle]).hit


def test_a_falling_tower_can_hit_an_obstacle():
    obstacles = [Box(2.0, 0.35, 1.0, 0.35)]
    base, hit = settle([put(0.0, 0.36)], obstacles)
    assert not hit
    assert settle((*base, put(0.9, 1.08, MEDIUM, group=2)), obstacles).hit


def test_equal_blocks_have_equal_futures_bit_for_bit():
    blocks = build(put(0.0, 0.36), put(0.2, 1.08, MEDIUM), put(-3.0, 0.4, sticky=True), put(-2.8, 1.1, LARGE))
    later = put(0.9, 1.8, LARGE, group=9)
    first = settle((*blocks, later), [])
    for x in (-6.0, 3.0, 6.0):  # what was played between does not matter
        settle((put(x, 3.0),), [])
        assert settle((*blocks, later), []) == first
    again = settle(tuple(Block(*block) for block in (*blocks, later)), [])
    assert again == first


def test_a_moment_that_still_moves_goes_on():
    falling = put(0.0, 3.0)._replace(vy=-1.0, vx=0.5, spin=0.4)
    (block,), _ = settle([falling], [])
    assert block.x > 0.2


def test_a_glued_pair_in_free_fall_keeps_turning_as_one(monkeypatch):
    monkeypatch.setattr(physics, "LONGEST", 30)  # a quarter of a second, high above the floor
    # about the middle between them: spin x (r1 - r0) = (0, 2) for a spin of 2 and a unit along x
    pair = (put(0.0, 9.0, vy=-1.0, spin=2.0), put(1.0, 9.0, vy=1.0, spin=2.0))
    (one, other), hit = settle(pair, [])
    assert not hit
    assert one.angle == other.angle == pytest.approx(0.5, abs=1e-3)
    dx, dy = other.x - one.x, other.y - one.y
    assert (dx, dy) == (pytest.approx(math.cos(0.5), abs=1e-3), pytest.approx(math.sin(0.5), abs=1e-3))
    assert other.vx - one.vx == pytest.approx(-2.0 * dy)
    assert other.vy - one.vy == pytest.approx(2.0 * dx)
    assert (one.vy + other.vy) / 2 == pytest.approx(-10 * 0.25)
    assert one.spin == other.spin == pytest.approx(2.0)
