import pytest

from envs.suites.construction.blocks import Block
from envs.suites.construction.scenes import Scene
from envs.suites.construction.shapes import Box
from envs.suites.construction.tasks import RULES, connected, filled, sheltered


def block(x, y, width=0.7, angle=0.0):
    return Block(x, y, angle, 0.0, 0.0, 0.0, width, 0.7, False, 1)


def test_a_target_is_filled_from_nine_tenths_on_by_a_block_of_its_size():
    scene = Scene((), (Box(0.0, 0.35, 2.1, 0.7), Box(3.0, 0.35, 0.7, 0.7)), (), 9)
    assert filled(scene, []) == 0
    assert filled(scene, [block(0.0, 0.35, 2.1)]) == 1
    assert filled(scene, [block(0.2, 0.35, 2.1)]) == 1  # 1.9 / 2.1 = 0.905
    assert filled(scene, [block(0.22, 0.35, 2.1)]) == 0  # 1.88 / 2.1 = 0.895
    assert filled(scene, [block(0.1, 0.4, 2.1)]) == 0  # (2 / 2.1) (0.65 / 0.7) = 0.884
    assert filled(scene, [block(0.0, 0.35, 3.5)]) == 0  # fills it, but is larger
    assert filled(scene, [block(3.0, 0.35, angle=0.05)]) == 1
    assert filled(scene, [block(0.0, 0.35, 2.1, 0.3)]) == 0  # tilted
    assert filled(scene, [block(0.0, 0.35, 2.1), block(3.0, 0.35)]) == 2


def test_a_target_is_connected_where_a_block_covers_its_middle():
    scene = Scene((), (Box(0.0, 1.05, 0.35, 0.35), Box(3.0, 1.05, 0.35, 0.35)), (), 9)
    assert connected(scene, [block(0.0, 0.35)]) == 0
    assert connected(scene, [block(0.3, 1.05)]) == 1
    assert connected(scene, [block(0.4, 1.05)]) == 0  # touches the target, not its middle
    assert connected(scene, [block(1.5, 1.05, 3.5)]) == 2
    assert connected(scene, [block(0.0, 1.0), block(0.0, 1.1)]) == 1  # once


def test_lengths_that_are_sheltered_add_up():
    scene = Scene((Box(0.0, 0.35, 1.4, 0.35), Box(1.0, 1.75, 2.0, 0.35)), (), (), 9)
    assert sheltered(scene, [block(0.0, 1.05, 2.1)]) == pytest.approx(1.4)
    # above the upper one is above the lower one, too: 0.7 of it, and 2 of the upper
    assert sheltered(scene, [block(1.75, 2.5, 3.5)]) == pytest.approx(0.7 + 2.0)
    assert RULES["covering"].best(scene) == pytest.approx(3.4)


def test_prices_of_glue_and_supplies_are_the_papers():
    assert {name: rules.sticky for name, rules in RULES.items()} == {
        "silhouette": 0.5,
        "connecting": 0.0,
        "covering": 2.0,
        "covering-hard": 0.5,
    }
    assert [name for name, rules in RULES.items() if rules.few] == ["covering-hard"]
