import pytest

from envs.suites.construction.scenes import COLUMNS, HALF, PITCH, ROW, Place, grown, stand
from envs.suites.construction.tasks import RULES
from envs.suites.levels import Dice

EVERY = [(task, difficulty) for task, rules in RULES.items() for difficulty in range(rules.hardest + 1)]


def scene(task, number, difficulty=None, size=1.0):
    rules = RULES[task]
    return rules.draw(Dice(~number), rules.hardest if difficulty is None else difficulty, size)


def on_grid(x):
    return abs((x + HALF) / PITCH - round((x + HALF) / PITCH)) < 1e-9


@pytest.mark.parametrize("size", [1.0, 1.5, 2.0])
@pytest.mark.parametrize(("task", "difficulty"), EVERY)
def test_scenes_fit_into_their_room(task, difficulty, size):
    room = RULES[task].room(difficulty, size)
    for number in range(10):
        drawn = scene(task, number, difficulty, size)
        assert len(drawn.supply) <= room.supply
        assert len(drawn.obstacles) <= room.obstacles
        assert len(drawn.targets) <= room.targets
        assert min(drawn.limit, len(drawn.supply) if RULES[task].few else 99) <= room.placed
        boxes = (*drawn.obstacles, *drawn.targets)
        assert all(-HALF <= box.left < box.right <= HALF and box.y > 0 for box in boxes)
        for i, box in enumerate(boxes):
            for other in boxes[i + 1 :]:
                apart = abs(box.x - other.x) - (box.width + other.width) / 2
                assert apart > 0 or abs(box.y - other.y) > 0.3


def test_a_level_is_its_number():
    for task in RULES:
        drawn = [scene(task, number) for number in range(30)]
        assert len(set(drawn)) == 30
        assert drawn == [scene(task, number) for number in range(30)]
    # on every machine
    first = scene("covering", 0).obstacles[0]
    assert (first.x, first.y, first.width) == pytest.approx((-2.8, 0.35, 2.7))


def test_difficulty_adds_targets_and_layers():
    for difficulty in range(8):
        drawn = scene("silhouette", 3, difficulty)
        assert len(drawn.targets) == drawn.limit == difficulty + 1
        assert bool(drawn.obstacles) == (difficulty >= 2)
    rows = [round(scene("connecting", 3, d).targets[0].y / ROW - 0.5) for d in range(10)]
    assert rows == [0, 1, 1, 1, 1, 2, 3, 3, 4, 5]
    assert [scene("connecting", 3, d).limit for d in range(10)] == [7] * 5 + [14] + [21] * 4
    for difficulty in range(3):
        heights = {round(o.y / ROW - 0.5) for o in scene("covering", 3, difficulty).obstacles}
        assert heights == set(range(0, 2 * difficulty + 1, 2))
    assert {round(o.y / ROW - 0.5) for o in scene("covering-hard", 3, 1).obstacles} == {0, 1}


def test_a_half_larger_is_a_half_more():
    assert len(scene("silhouette", 0, size=1.5).targets) == 12
    assert len({o.y for o in scene("connecting", 0, size=1.5).obstacles}) == 5
    assert scene("connecting", 0, size=1.5).targets[0].y > scene("connecting", 0).targets[0].y + 2 * ROW
    assert len({o.y for o in scene("covering", 0, size=1.5).obstacles}) == 5
    assert (len(scene("covering-hard", 0).supply), len(scene("covering-hard", 0, size=1.5).supply)) == (7, 11)
    assert [grown(n, 1.5) for n in (1, 2, 3)] == [2, 3, 5]
    assert grown(10, 1.1) == 11  # not 12 for the sake of a rounding error


def test_few_blocks_are_the_papers():
    """Three small, three medium and one large one."""
    supply = [round(width, 2) for width in scene("covering-hard", 0).supply]
    assert sorted(supply) == [0.7] * 3 + [2.1] * 3 + [3.5]
    assert [round(width, 2) for width in scene("covering", 0).supply] == [0.7, 2.1, 3.5]


def test_there_is_room_for_a_block_beside_each_obstacle():
    for number in range(20):
        for task in ("connecting", "covering", "covering-hard"):
            drawn = scene(task, number)
            for one in drawn.obstacles:
                assert one.left > -HALF + 2 * PITCH
                assert one.right < HALF - 2 * PITCH
                gaps = [o.left - one.right for o in drawn.obstacles if o.y == one.y and o.left > one.left]
                assert all(gap > 2 * PITCH for gap in gaps)


def test_targets_are_where_actions_reach():
    for task in ("silhouette", "connecting"):
        for number in range(20):
            for target in scene(task, number).targets:
                middle = (target.x + HALF) / PITCH
                assert on_grid(target.x) or task == "connecting"
                assert 0 <= middle <= COLUMNS
                assert on_grid(target.y / ROW * PITCH - PITCH / 2 - HALF)


@pytest.mark.parametrize(
    ("places", "stands"),
    [
        ([Place(0, 0, 2)], True),
        ([Place(1, 0, 2)], False),  # on nothing
        ([Place(0, 0, 6), Place(1, 2, 6)], True),  # its middle 5 over 0 to 6
        ([Place(0, 0, 6), Place(1, 3, 6)], False),  # its middle on the very edge
        ([Place(0, 0, 2), Place(0, 6, 2), Place(1, 0, 8)], False),  # on two: left out
        # by itself the third stands; with it the second tips over the first: (6 * 5 + 10 * 7) / 16 = 6.25
        ([Place(0, 0, 6), Place(1, 2, 6), Place(2, 2, 10)], False),
        ([Place(0, 0, 6), Place(1, 2, 6), Place(2, 0, 10)], True),  # (6 * 5 + 10 * 5) / 16 = 5
    ],
)
def test_what_stands_without_glue(places, stands):
    assert stand(places) == stands
