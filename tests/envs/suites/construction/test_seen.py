import math

import numpy as np
import pytest

from envs import environment_info
from envs.suites.construction.blocks import Block
from envs.suites.construction.scenes import Scene
from envs.suites.construction.seen import BLUE, FEATURES, FILLS, OBSTACLE, ORANGE, SKY, Objects, draw, shelf
from envs.suites.construction.shapes import Box
from envs.suites.construction.tasks import RULES, Room
from envs.suites.levels import Dice

SCENE = Scene((Box(-3.5, 1.75, 2.0, 0.35),), (Box(1.4, 0.35, 0.7, 0.7),), (0.7, 2.1), 9)
BLOCKS = (
    Block(0.0, 3.5, math.pi / 6, 0.0, 0.0, 0.0, 2.1, 0.7, True, 0),
    Block(5.0, 0.35, 0.0, 0.0, 0.0, 0.0, 3.5, 0.7, False, 2),
)
OBJECTS = Objects(Room(3, 2, 1, 4))


def table(used=0, blocks=BLOCKS):
    return OBJECTS.table(OBJECTS.shapes(SCENE, used, blocks))


def named(row):
    return dict(zip(FEATURES, row.tolist(), strict=True))


def pixel(picture, x, y):
    """The colour at a place of the scene."""
    side = len(picture)
    return tuple(picture[int(side - (y + 3.1) * side / 14), int((x + 7) * side / 14)].tolist())


def test_each_object_has_its_row():
    rows, mask = table()
    assert rows.shape == (3 + 4 + 2 + 1 + 4, 12)
    assert (rows.dtype, mask.dtype) == (np.float32, np.int8)
    # 2 of 3 blocks at hand, 4 stretches of the floor, 1 of 2 obstacles, the target, 2 of 4 placed ones
    assert mask.tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0]
    assert not rows[mask == 0].any()
    np.testing.assert_array_equal(rows[:, 6:11].sum(1), mask)


def test_rows_worked_by_hand():
    rows, _ = table()
    obstacle, target, placed = named(rows[7]), named(rows[9]), named(rows[10])
    assert obstacle["x"] == pytest.approx(-0.5)
    assert obstacle["width"] == pytest.approx(2 / 7)
    assert (obstacle["sin"], obstacle["cos"], obstacle["obstacle"], obstacle["sticky"]) == (0, 1, 1, 0)
    assert (target["target"], target["x"]) == (1, pytest.approx(0.2))
    assert placed["y"] == pytest.approx(0.5)
    assert (placed["sin"], placed["cos"]) == (pytest.approx(0.5), pytest.approx(math.sqrt(3) / 2))
    assert (placed["placed"], placed["sticky"], named(rows[11])["sticky"]) == (1, 1, 0)
    assert [named(row)["floor"] for row in rows[3:7]] == [1, 1, 1, 1]
    assert [named(row)["x"] for row in rows[3:7]] == pytest.approx([-0.75, -0.25, 0.25, 0.75])


def test_a_block_that_is_gone_leaves_its_row():
    rows, mask = table(used=0b01)
    assert mask[:3].tolist() == [0, 1, 0]
    assert not rows[0].any()
    np.testing.assert_array_equal(rows[1:], table()[0][1:])


@pytest.mark.parametrize("size", [1.0, 1.5, 2.0])
def test_blocks_at_hand_are_shown_apart_and_below_the_floor(size):
    rules = RULES["covering-hard"]
    shown = shelf(rules.draw(Dice(0), 1, size).supply)
    for i, one in enumerate(shown):
        assert one.left >= -7
        assert one.right <= 7
        assert one.y - 0.35 > -3.1
        assert one.top < -0.35
        for other in shown[i + 1 :]:
            assert one.y != other.y or one.right < other.left


@pytest.mark.parametrize("size", [64, 256])
def test_pictures_show_what_the_rows_tell(size):
    picture = draw(table()[0], size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert pixel(picture, 0.0, 3.5) == ORANGE
    assert pixel(picture, 5.0, 0.35) == BLUE
    red, green, blue = pixel(picture, -3.5, 1.75)
    assert red > 180
    assert max(green, blue) < 90
    assert pixel(picture, 0.0, 8.0) == SKY
    assert pixel(picture, 0.0, -0.15) == FILLS[10]
    assert pixel(picture, 1.4, 0.35)[1] > 200  # the target
    # a tilted block: along its axis, not along the floor
    assert pixel(picture, 0.8 * math.cos(math.pi / 6), 3.5 + 0.8 * 0.5) == ORANGE
    assert pixel(picture, 0.95, 3.4) == SKY


def test_colours_are_far_apart():
    colours = np.array([SKY, BLUE, ORANGE, *FILLS.values()], float)
    distances = [
        np.abs(a - b).max() for i, a in enumerate(colours) for b in colours[i + 1 :] if (a != b).any()
    ]
    assert min(distances) > 60


def test_whatever_is_dreamed_is_drawn():
    for options in ("", ",observe=flat"):
        info = environment_info(f"construction-connecting{options}")
        space = {"objects": np.random.default_rng(0).uniform(-4, 4, (57, 12)), "objects_mask": np.ones(57)}
        seen = {"vector": space["objects"].ravel()} if options else space
        picture = info.draw(seen)
        assert picture.shape == (128, 128, 3)
        assert (picture != SKY).any()
    absent = environment_info("construction-connecting").draw(space | {"objects_mask": np.zeros(57)})
    assert (absent == SKY).all()
    assert environment_info("construction-connecting,observe=both").draw is None
    assert OBSTACLE in FILLS
