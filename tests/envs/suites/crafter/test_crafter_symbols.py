import numpy as np
import pytest
from gymnasium import spaces

from envs import environment_info
from envs.suites.crafter.environment import Crafter
from envs.suites.crafter.symbols import COLUMNS, ITEMS, MATERIALS, OBJECTS, PLAYER, ROWS, symbol_spaces

SLEEP = 6
MIDDLE = ROWS // 2 * COLUMNS + COLUMNS // 2


def state_of(env):
    """All that Crafter's future depends on."""
    upstream = env._upstream
    world, generator = upstream._world, upstream._world.random.get_state()
    things = [thing and (type(thing).__name__, *inner(thing)) for thing in world._objects]
    return (
        world._mat_map.tobytes(),
        world._obj_map.tobytes(),
        things,
        [(chunk, [id_of(world, thing) for thing in members]) for chunk, members in world.chunks.items()],
        (generator[1].tobytes(), *generator[2:]),
        world.daylight,
    )


def inner(thing):
    plain = {name: value for name, value in vars(thing).items() if name not in ("world", "random", "player")}
    return sorted((name, str(value)) for name, value in plain.items())


def id_of(world, thing):
    return int(world._obj_map[tuple(thing.pos)])


def actions(seed, steps):
    random = np.random.RandomState(seed)
    return [SLEEP if step % 300 > 220 else int(random.randint(17)) for step in range(steps)]


def test_symbols_and_pixels_live_the_same_episodes():
    envs = [Crafter(observe=observe) for observe in ("pixels", "symbols", "both")]
    first = [env.reset(seed=4)[0] for env in envs]
    assert [sorted(seen) for seen in first[:2]] == [["image"], sorted(symbol_spaces())]
    dark = asleep = ends = 0
    for step, action in enumerate(actions(0, 1200)):
        results = [env.step(action) for env in envs]
        for other in results[1:]:
            assert other[1:] == results[0][1:]
        assert np.array_equal(results[0][0]["image"], results[2][0]["image"])
        assert all(np.array_equal(results[1][0][name], results[2][0][name]) for name in results[1][0])
        if step % 10 == 0 or step % 300 > 220:
            assert state_of(envs[1]) == state_of(envs[0])
        dark += envs[1]._upstream._world.daylight < 0.5
        asleep += envs[1]._upstream._player.sleeping
        if results[0][2] or results[0][3]:
            ends += 1
            for env in envs:
                env.reset(seed=100 + ends)
    assert state_of(envs[1]) == state_of(envs[0]) == state_of(envs[2])
    assert min(dark, asleep, ends) > 0
    assert dark > 50


def test_observations_lie_in_their_spaces_and_are_not_shared():
    env = Crafter(observe="symbols")
    seen, _ = env.reset(seed=1)
    kept = {name: value.copy() for name, value in seen.items()}
    for action in actions(1, 150):
        observation, *_, ended, _, _ = env.step(action)
        assert env.observation_space.contains(observation)
        if ended:
            break
    assert all(np.array_equal(seen[name], kept[name]) for name in seen)
    for space in env.observation_space.values():
        if isinstance(space, spaces.MultiDiscrete):
            assert space.dtype == np.uint8
            assert len(space.shape) == 1
            assert not space.start.any()


def test_names_are_upstreams_own():
    from envs.suites.crafter.upstream import constants

    assert list(MATERIALS[1:]) == constants.materials
    assert tuple(constants.items) == ITEMS
    assert {item["max"] for item in constants.items.values()} == {9}


def upstreams_picture(env, daylight):
    """What the unmended package shows at 128 pixels, in another light."""
    from envs.suites.crafter.upstream import crafter, engine

    upstream = env._upstream
    world, before = upstream._world, upstream._world.daylight
    plain = crafter.Env.__new__(crafter.Env)
    plain.__dict__.update(vars(upstream))
    plain._local_view = engine.LocalView(world, upstream._textures, (9, 7))
    plain._item_view = engine.ItemView(upstream._textures, (9, 2))
    world.daylight = before if daylight is None else daylight
    state = world.random.get_state()
    picture = plain.render((128, 128))
    world.random.set_state(state)
    world.daylight = before
    return picture


def put_around(env):
    """Put one of each thing around the player, whatever was there."""
    from envs.suites.crafter.upstream import objects

    upstream = env._upstream
    world, player = upstream._world, upstream._player
    ripe = objects.Plant(world, (0, 0))
    ripe.grown = 301
    things = [
        objects.Cow(world, (0, 0)),
        objects.Zombie(world, (0, 0), player),
        objects.Skeleton(world, (0, 0), player),
        objects.Plant(world, (0, 0)),
        ripe,
        *(objects.Arrow(world, (0, 0), facing) for facing in ((-1, 0), (1, 0), (0, -1), (0, 1))),
    ]
    for number, thing in enumerate(things):
        thing.pos = player.pos + (number % 3 + 1, number // 3 - 1)
        if world[thing.pos][1]:
            world.remove(world[thing.pos][1])
        world.add(thing)
    return things


def test_a_picture_of_the_symbols_is_the_picture():
    env, draw = Crafter(observe="symbols"), environment_info("crafter,observe=symbols").draw
    env.reset(seed=2)
    put_around(env)
    shown = set()
    for number, action in enumerate(actions(3, 330)):
        env._upstream._player.health = 9  # so that the nights are seen
        observation = env.step(action)[0]
        shown |= {OBJECTS[code] for code in observation["objects"]} | {PLAYER[observation["player"][0]]}
        if number % 7 == 0:
            by_day = draw({**observation, "daylight": np.ones(1, np.float32)})
            assert np.array_equal(by_day, upstreams_picture(env, 1.0))
            difference = draw(observation).astype(int) - upstreams_picture(env, None)
            limit = 1 if observation["daylight"][0] >= 0.5 else 60  # the noise is 32 to 127, on half a night
            assert abs(difference).max() <= limit
            assert abs(difference.mean()) < 2
    assert {"player-sleep", "player-left", "cow", "zombie"} <= shown


def test_each_thing_has_its_number():
    env = Crafter(observe="symbols")
    env.reset(seed=2)
    things = put_around(env)
    from envs.suites.crafter.symbols import encode

    seen = encode(env._upstream._world, env._upstream._player)
    names = [
        OBJECTS[seen["objects"][MIDDLE + n % 3 + 1 + COLUMNS * (n // 3 - 1)]] for n in range(len(things))
    ]
    assert names == [thing.texture for thing in things]
    assert seen["objects"][MIDDLE] == 0  # the player has an entry of its own
    assert set(names) == set(OBJECTS[1:])


@pytest.mark.parametrize("corner", [(0, 0), (63, 63), (1, 60), (62, 2)])
def test_beyond_the_edge_of_the_world_is_outside(corner):
    env, draw = Crafter(observe="symbols"), environment_info("crafter,observe=symbols").draw
    env.reset(seed=0)
    from envs.suites.crafter.symbols import encode

    world, player = env._upstream._world, env._upstream._player
    world.move(player, corner)
    seen = encode(world, player)
    x, y = np.meshgrid(np.arange(9) - 4 + corner[0], np.arange(7) - 3 + corner[1])
    outside = (np.minimum(x, y) < 0) | (np.maximum(x, y) > 63)
    assert np.array_equal(seen["materials"].reshape(7, 9) == 0, outside)
    by_day = draw({**seen, "daylight": np.ones(1, np.float32)})
    assert np.array_equal(by_day, upstreams_picture(env, 1.0))


def test_whatever_a_model_dreams_is_drawn():
    draw = environment_info("crafter,observe=both").draw
    space = spaces.Dict(symbol_spaces())
    space.seed(0)
    for _ in range(50):
        picture = draw(space.sample())
        assert (picture.shape, picture.dtype) == ((128, 128, 3), np.uint8)
    lightless = {**space.sample(), "daylight": np.array([-0.3], np.float32)}
    assert draw(lightless).any()
    assert environment_info("crafter").draw is None


def test_symbols_are_made_without_drawing(monkeypatch):
    env = Crafter(observe="symbols")
    drawn = []
    monkeypatch.setattr(type(env._upstream), "render", lambda self, size=None: drawn.append(size))
    env.reset(seed=0)
    for action in actions(0, 30):
        env.step(action)
    assert not drawn
    env.render()
    assert len(drawn) == 1


def test_films_of_symbols_change_nothing():
    plain, filmed = Crafter(observe="symbols"), Crafter(observe="symbols", render_size=90)
    for env in (plain, filmed):
        env.reset(seed=1)
    for action in actions(1, 260):
        assert filmed.render().shape == (90, 90, 3)
        ends = [env.step(action)[2] for env in (plain, filmed)]
        assert ends[0] == ends[1]
        if ends[0]:
            break
    assert state_of(plain) == state_of(filmed)
