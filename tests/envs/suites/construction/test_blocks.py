import pytest

from envs.suites.construction.blocks import FIXED, Block, groups, weld, whole


def block(x, y=0.0, *, vx=0.0, vy=0.0, spin=0.0, width=1.0, group=1):
    return Block(x, y, 0.0, vx, vy, spin, width, 1.0, False, group)


def test_two_blocks_as_one_body():
    body = whole([block(0.0), block(3.0, vx=3.0, width=2.0)])
    assert body.mass == 3.0
    assert (body.x, body.y) == (2.0, 0.0)
    assert (body.vx, body.vy, body.spin) == (2.0, 0.0, 0.0)
    # squares w h (w^2 + h^2) / 12 about their own middles, and each its mass times its distance squared
    assert body.moment == pytest.approx(1 * 2 / 12 + 1 * 4 + 2 * 5 / 12 + 2 * 1)


def test_glue_keeps_momentum_and_angular_momentum():
    apart = (block(0.0, vy=-2.0, spin=1.0), block(1.0, vx=1.0, group=2))
    joined = weld(apart, [(0, 1)])
    assert [b.group for b in joined] == [1, 1]
    before, after = whole(apart), whole(joined)
    for name in ("vx", "vy", "spin"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))
    assert joined[0].spin == joined[1].spin != 0
    # as parts of one rigid body: v1 - v0 = spin x (r1 - r0)
    assert joined[1].vy - joined[0].vy == pytest.approx(joined[0].spin * 1.0)
    assert joined[1].vx == pytest.approx(joined[0].vx)


def test_what_is_glued_to_the_floor_stops_with_all_its_group():
    blocks = (block(0.0, vy=-1.0), block(1.0, vy=-1.0, spin=2.0), block(9.0, vx=1.0, group=2))
    floored = weld(blocks, [(1, None)])
    assert [b.group for b in floored] == [FIXED, FIXED, 2]
    assert [(b.vx, b.vy, b.spin) for b in floored] == [(0, 0, 0), (0, 0, 0), (1, 0, 0)]
    assert groups(floored) == {FIXED: [0, 1], 2: [2]}


def test_glue_joins_in_chains():
    blocks = tuple(block(float(i), group=i + 1) for i in range(4))
    assert [b.group for b in weld(blocks, [(1, 2), (3, 2)])] == [1, 2, 2, 2]
    assert [b.group for b in weld(blocks, [(1, 2), (2, 0), (0, None)])] == [FIXED, FIXED, FIXED, 4]
