import numpy as np
import pytest

from envs.suites.crafter import worlds
from envs.suites.crafter.upstream import constants, engine, internals, objects


def make_world(seed, generate):
    world = engine.World((64, 64), constants.materials, (12, 12))
    world.reset(seed=seed)
    player = objects.Player(world, (32, 32))
    world.add(player)
    generate(world, player)
    return world


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8, 2**31 - 2])
def test_worlds_are_upstreams_own(seed):
    from crafter import worldgen

    ours = make_world(seed, worlds.generate_world)
    theirs = make_world(seed, worldgen.generate_world)
    assert np.array_equal(ours._mat_map, theirs._mat_map)
    assert np.array_equal(ours._obj_map, theirs._obj_map)
    kinds = [[type(thing) for thing in world._objects] for world in (ours, theirs)]
    assert kinds[0] == kinds[1]
    assert {objects.Cow, objects.Zombie} <= set(kinds[0])
    states = [world.random.get_state() for world in (ours, theirs)]
    assert np.array_equal(states[0][1], states[1][1])
    assert states[0][2:] == states[1][2:]


def test_tables_are_those_of_opensimplex():
    for seed in (0, 1, 12345, 2**31 - 2):
        for ours, theirs in zip(worlds.permutations(seed), internals._init(seed), strict=True):
            assert np.array_equal(ours, theirs)


def test_upstreams_numbers_have_these_names():
    names = ["WATER", "GRASS", "STONE", "PATH", "SAND", "TREE", "LAVA", "COAL", "IRON", "DIAMOND"]
    numbers = {name: constants.materials.index(name.lower()) + 1 for name in names}
    assert {name: getattr(worlds, name) for name in names} == numbers
