"""What environments say of what happens: forced by hand, beside what they count themselves."""

import numpy as np
import pytest

from envs import DID, SCENE, environment_words, make, make_vector
from envs.captions.base import bits
from envs.captions.crafter import ACHIEVEMENTS, phrase
from envs.suites.grids.mazes import GOLD, Mazes
from envs.suites.grids.minigrid import UPSTREAM_IDS
from expedition import UserError

CRAFTER = "crafter,observe=symbols"
MAZE = "mazes-goal,observe=symbols,size=7,limit=30"


def told(env, env_id):
    words = environment_words(env_id)
    did, scene = env.get_wrapper_attr("told")
    return _names(words.did, did), _names(words.scene, scene)


def _names(names, number):
    return {name for i, name in enumerate(names) if number >> i & 1}


def test_bits_are_places():
    assert bits(("a", "b", "c"), ["c", "a", "c"]) == 0b101
    with pytest.raises(ValueError, match="not in"):
        bits(("a",), ["b"])


def test_crafter_tells_every_achievement_that_upstream_counts():
    from envs.suites.crafter.upstream import constants

    assert list(ACHIEVEMENTS) == list(constants.achievements)


def test_crafters_captions_are_what_it_counted():
    env, total = make(CRAFTER, captions=True), dict.fromkeys(map(phrase, ACHIEVEMENTS), 0)
    env.reset(seed=3)
    player = env.unwrapped._upstream._player
    rng = np.random.default_rng(0)
    info = {}
    for _ in range(150):
        player.inventory |= dict.fromkeys(("health", "wood", "stone", "coal", "iron", "sapling"), 9)
        *_, terminated, truncated, info = env.step(int(rng.integers(17)))
        for name in told(env, CRAFTER)[0] & total.keys():
            total[name] += 1
        if terminated or truncated:
            break
    counts = {phrase(name): count for name, count in info["achievements"].items()}
    assert total == counts
    assert sum(count > 0 for count in total.values()) >= 9


def test_crafter_tells_strikes_sleep_and_what_is_seen_and_held():
    from envs.suites.crafter.upstream import objects

    env = make(CRAFTER, captions=True)
    env.reset(seed=0)
    upstream = env.unwrapped._upstream
    player, world = upstream._player, upstream._world
    place = player.pos + player.facing
    world[place] = "grass"
    world.add(objects.Cow(world, place))
    player.inventory["wood_pickaxe"], player.inventory["food"], player.inventory["energy"] = 1, 4, 5
    env.step(5)  # do
    did, scene = told(env, CRAFTER)
    assert did == {"attack cow"}
    assert {"see cow", "see grass", "have wood pickaxe", "feel hungry"} <= scene
    assert not scene & {"feel thirsty", "feel tired", "have wood"}
    env.step(6)
    did, scene = told(env, CRAFTER)
    assert did == {"sleep"}
    assert "feel asleep" in scene


def test_captions_change_nothing_of_the_episode():
    plain, captioned = make(CRAFTER), make(CRAFTER, captions=True)
    for env in (plain, captioned):
        env.reset(seed=5)
    rng = np.random.default_rng(1)
    for _ in range(60):
        action = int(rng.integers(17))
        one, two = plain.step(action), captioned.step(action)
        assert one[1:4] == two[1:4]
        assert all(np.array_equal(one[0][name], two[0][name]) for name in one[0])


def test_mazes_tell_walls_and_what_was_stepped_on():
    env = make(MAZE, captions=True)
    env.reset(seed=1)
    game = env.unwrapped
    assert isinstance(game, Mazes)
    moves = game.level(game._state.level).maze.moves
    agent = game._state.agent
    wall = next(a for a in range(4) if moves[a][agent] == agent)
    free = next(a for a in range(4) if moves[a][agent] != agent)
    env.step(wall)
    assert told(env, MAZE)[0] == {"bump into wall"}
    board = bytearray(game._state.board)
    board[moves[free][agent]] = GOLD
    game._state = game._state._replace(board=bytes(board))
    env.step(free)
    did, scene = told(env, MAZE)
    assert did == {"collect gold"}
    assert "see goal" in scene
    assert environment_words(MAZE).achievements == ("reach goal",)
    assert environment_words("mazes-collect").achievements == ("collect gold", "collect silver")


def test_minigrid_tells_keys_doors_and_the_goal():
    pytest.importorskip("minigrid")
    from minigrid.core.world_object import Box, Door, Goal, Key, Lava

    env_id = "minigrid-doorkey-5x5,observe=symbols"
    assert environment_words(env_id).achievements == ("pick up key", "open door", "reach goal")

    def play(thing, *actions):
        env = make(env_id, captions=True)
        env.reset(seed=0)
        inner = env.unwrapped._upstream
        inner.agent_pos, inner.agent_dir = (1, 1), 1
        inner.grid.set(1, 2, thing)
        for action in actions:
            env.step(action)
        return told(env, env_id)

    pick, drop, toggle, forward = 3, 4, 5, 2
    assert play(Key("yellow"), pick)[0] == {"pick up key"}
    assert "have key" in play(Key("yellow"), pick)[1]
    assert play(Key("yellow"), pick, drop)[0] == {"drop key"}
    assert play(Door("red"), toggle)[0] == {"open door"}
    assert play(Door("red"), toggle, toggle)[0] == {"close door"}
    assert play(Door("red", is_locked=True), toggle)[0] == set()
    assert play(Box("red"), toggle)[0] == {"open box"}
    assert play(Goal(), forward)[0] == {"reach goal"}
    assert play(Lava(), forward)[0] == {"step into lava"}

    env = make(env_id, captions=True)
    env.reset(seed=0)
    inner = env.unwrapped._upstream
    inner.agent_pos, inner.agent_dir, inner.carrying = (1, 1), 1, Key("red")
    inner.grid.set(1, 2, Door("red", is_locked=True))
    env.step(toggle)
    did, scene = told(env, env_id)
    assert did == {"open door", "unlock door"}
    assert {"have key", "see open door"} <= scene


def test_every_minigrid_task_has_words():
    for name in UPSTREAM_IDS:
        words = environment_words(f"minigrid-{name}")
        assert words.achievements or name.startswith("memory"), name


@pytest.mark.parametrize("env_id", ["catch-vector", "CartPole-v1", "go-9x9"])
def test_an_environment_without_words_is_refused(env_id):
    for refused in (environment_words, lambda name: make(name, captions=True)):
        with pytest.raises(UserError, match="has no captions.* crafter, mazes or minigrid"):
            refused(env_id)


def test_rows_hold_captions_only_where_asked_and_workers_tell_the_same():
    plain, asked = make_vector(MAZE, 2), make_vector(MAZE, 2, captions=True)
    away = make_vector(MAZE, 2, workers=2, captions=True)
    try:
        assert not {DID, SCENE} & plain.reset(0).keys()
        for rows in (asked.reset(0), away.reset(0)):
            assert rows[DID].tolist() == [0, 0]
            assert (rows[SCENE] > 0).all()
        rng, seen = np.random.default_rng(0), set()
        for _ in range(40):  # over the end of an episode
            actions = rng.integers(4, size=2)
            one, two = asked.step(actions), away.step(actions)
            assert all(np.array_equal(one[name], two[name]) for name in one)
            assert not one[DID][one["is_first"]].any()
            seen |= set(one[DID].tolist())
        assert len(seen) >= 3
    finally:
        for envs in (plain, asked, away):
            envs.close()


def test_the_last_row_of_a_lost_worker_tells_nothing():
    envs = make_vector(MAZE, 1, workers=1, captions=True)
    try:
        first = envs.reset(0)
        rng = np.random.default_rng(0)
        rows = first
        while not rows[DID][0]:
            rows = envs.step(rng.integers(4, size=1))
        envs._workers[0].process.kill()
        rows = envs.step(np.array([0]))
        assert rows["is_last"].all()
        assert rows[DID].tolist() == [0]
        assert rows["task/collect"].tolist() == [0]
    finally:
        envs.close()
