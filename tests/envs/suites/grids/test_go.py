import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import environment_info
from envs.suites.grids.go import BARRED, EMPTY, OTHER, OWN, PASS, SUITE, Go, summarise
from expedition import UserError

pyspiel = pytest.importorskip("pyspiel")


def follow(env, actions):
    """Play a list of actions; return what is seen, earned and told, step by step."""
    return [env.step(action) for action in actions]


def same(ours, theirs):
    return all(
        np.array_equal(a[0]["cells"], b[0]["cells"]) and a[1:] == b[1:]
        for a, b in zip(ours, theirs, strict=True)
    )


def some_actions(seed, count):
    return np.random.RandomState(seed).permutation(PASS)[:count].tolist()


def test_gymnasiums_checker_passes():
    check_env(Go())


def test_the_list_says_what_is_made():
    env = SUITE.make("9x9", {}, 64)
    space = env.observation_space["cells"]
    assert SUITE.tasks["9x9"].observation == f"cells {space.dtype} {space.shape}"
    assert SUITE.tasks["9x9"].action == str(env.action_space)


def test_games_are_open_spiels():
    env, random = Go(), np.random.RandomState(0)
    wins, illegal_moves = [], 0
    for seed in range(30):
        env.reset(seed=seed)
        generator, over = np.random.default_rng(seed), False
        state = pyspiel.load_game("go(board_size=9)").new_initial_state()
        while not over:
            action = (
                random.choice(state.legal_actions()) if random.rand() < 0.95 else random.randint(PASS + 1)
            )
            illegal = not state.legal_actions_mask()[action]
            illegal_moves += illegal
            state.apply_action(PASS if illegal else action)
            if not state.is_terminal():
                legal = state.legal_actions()
                state.apply_action(legal[generator.integers(len(legal))])
            observation, reward, over, truncated, info = env.step(action)
            cells = observation["cells"]
            black, white, empty, _ = np.reshape(state.observation_tensor(0), (4, 81))
            legal = np.zeros(81) if over else state.legal_actions_mask()[:81]
            for code, points in ((OWN, black), (OTHER, white), (EMPTY, legal), (BARRED, empty - legal)):
                assert np.array_equal(cells == code, points)
            assert env.observation_space.contains(observation)
            assert (over, truncated, info["illegal"]) == (state.is_terminal(), False, illegal)
            assert reward == (state.returns()[0] if over else 0)
        wins.append(info["episode_metrics"]["win"])
        assert wins[-1] == (reward == 1)
    assert 0 < sum(wins) < 30
    assert illegal_moves > 0


def test_the_opponent_depends_on_the_seed_alone():
    env, actions = Go(), some_actions(0, 10)
    env.reset(seed=1)
    once = follow(env, actions)
    env.reset(seed=1)
    assert same(follow(env, actions), once)
    env.reset(seed=2)
    assert not same(follow(env, actions), once)


def test_two_passes_end_the_game():
    env = Go()
    for seed in range(200):
        env.reset(seed=seed)
        _, reward, over, _, info = env.step(PASS)
        if over:
            break
    assert (reward, over) == (-1, True)  # komi decides on the empty board
    assert info["episode_metrics"] == {"win": 0, "illegal_moves": 0}
    with pytest.raises(ResetNeeded):
        env.step(PASS)


def test_an_illegal_move_is_a_pass():
    env = Go()
    env.reset(seed=0)
    env.step(40)
    moment = env.clone()
    passed = env.step(PASS)
    env.restore(moment)
    *seen, info = env.step(40)
    assert same([(*seen, {"illegal": False})], [passed])
    assert info == {"illegal": True}
    assert env._illegal == 1


def test_a_restored_moment_goes_on_exactly_and_as_often_as_wanted():
    env, other = Go(), Go()
    env.reset(seed=5)
    follow(env, some_actions(1, 10))
    moment = env.clone()
    seen = env._observe()["cells"]
    actions = some_actions(2, 15)
    once = follow(env, actions)
    for copy in (env, other, env):
        assert np.array_equal(copy.restore(moment)["cells"], seen)
        assert same(follow(copy, actions), once)


def test_a_restored_moment_with_other_luck():
    env = Go()
    env.reset(seed=5)
    moment = env.clone()
    actions = some_actions(2, 10)
    env.restore(moment, seed=1)
    once = follow(env, actions)
    env.restore(moment, seed=2)
    assert not same(follow(env, actions), once)
    env.restore(moment, seed=1)
    assert same(follow(env, actions), once)


def test_render_draws_stones_where_they_are():
    env = Go()
    with pytest.raises(ResetNeeded):
        env.render()
    env.reset(seed=0)
    empty = env.render()
    env.step(0)  # the lowest left corner
    board = env.render()
    assert (board.shape, board.dtype) == ((252, 252, 3), np.uint8)
    assert board[-14, 10].tolist() == [20, 20, 20]
    white = (board == 240).all(-1)
    row, column = np.argwhere(env._observe()["cells"].reshape(9, 9) == OTHER)[0]
    assert (
        white[252 - 28 * (row + 1) : 252 - 28 * row, 28 * column : 28 * (column + 1)].sum() == white.sum() > 0
    )
    assert (empty != board).any(-1).mean() < 0.02


def test_observations_are_drawn_as_the_board_is():
    env = Go()
    observation, _ = env.reset(seed=0)
    for action in some_actions(1, 20):
        observation = env.step(action)[0]
    small = environment_info("go-9x9").draw(observation)
    assert (small.shape, small.dtype) == ((126, 126, 3), np.uint8)
    # The middle of each point, of the large and the small picture alike.
    assert np.array_equal(small[10::14, 10::14], env.render()[20::28, 20::28])


def test_bad_input_is_refused():
    env = Go()
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(UserError, match="call reset first"):
        env.clone()
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 81"):
        env.step(82)


def test_measures():
    rows = [{"win": 1.0, "illegal_moves": 4.0}, {"win": 0.0, "illegal_moves": 0.0}, {"return": 1.0}]
    assert summarise(rows) == {"win_rate": 0.5, "illegal_moves": 2.0}
    assert summarise([]) == {}
