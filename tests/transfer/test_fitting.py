"""Phases with other observations or actions are not joined because widths agree by chance."""

import dataclasses
import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from agents import ActorCriticConfig, AgentConfig
from expedition import UserError
from training import Logistics, RunConfig, TrainingConfig, evaluate_run, execute, open_checkpoint
from training.spaces import SPACES, describe_spaces, described_spaces, told_observations
from transfer.fitting import check_spaces
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False)
AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(imagination=2, layers=1, starts=2),
)
TRAINING = TrainingConfig(
    num_envs=2, batch=2, length=4, train_ratio=2.0, learning_starts=8, evaluation_episodes=1
)
TRAINING = dataclasses.replace(TRAINING, heldout=2, context=2, open_loop=2)
THREE = spaces.Box(-1, 1, (3,), np.float32)


def seen(**boxes):
    return spaces.Dict(list(boxes.items()))  # in this order


EXPLORED = describe_spaces(seen(vector=THREE), spaces.Discrete(3))


class Ten(gymnasium.Env):
    """Ten steps of nothing, with spaces of choice."""

    def __init__(self, observation=THREE, action=None):
        self.observation_space, self.action_space = observation, action or spaces.Discrete(3)

    def _seen(self):
        seen = np.zeros(3, np.float32)
        names = getattr(self.observation_space, "spaces", None)
        return seen if names is None else dict.fromkeys(names, seen)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        return self._seen(), 1.0, self.t == 10, False, {}


ENVS = {
    "Explored-v0": {"action": spaces.Discrete(3, start=-1)},
    "Begins-v0": {"action": spaces.Discrete(3, start=5)},
    "Boxed-v0": {"action": THREE},
    "Four-v0": {"action": spaces.Discrete(4)},
    "Renamed-v0": {"observation": seen(pos=THREE)},
}


@pytest.fixture(autouse=True, scope="module")
def _registered():
    for name, spec in ENVS.items():
        gymnasium.register(name, entry_point=Ten, kwargs=spec)
    yield
    for name in ENVS:
        del gymnasium.registry[name]


def settings(env, phase="finetune"):
    return RunConfig(env, phase, "none" if phase == "pretrain" else None, "tiny", 20, 0, AGENT, TRAINING)


@pytest.fixture(scope="module")
def explored(tmp_path_factory, _registered):
    folder = tmp_path_factory.mktemp("explored") / "run"
    execute(settings("Explored-v0", "pretrain"), folder, QUIET)
    return folder


def carried_out(explored, folder, plan, env):
    plan, source, config = parse_plan(plan), open_source(explored), settings(env)
    return execute(config, folder, QUIET, transfer_record(plan, source), Transfer(plan, source, config))


def test_a_checkpoint_has_the_spaces_of_its_run(explored):
    assert open_checkpoint(explored).metadata[SPACES] == EXPLORED
    assert EXPLORED == {"observations": [["vector", "float32", [3]]], "actions": "Discrete(3)"}


@pytest.mark.parametrize(
    ("plan", "env", "sentence"),
    [
        ("model", "Boxed-v0", "the dynamics, which learned of the actions Discrete(3) .* not of Box(3)"),
        ("policy", "Four-v0", "the actor, which learned of the actions Discrete(3) .* not of Discrete(4)"),
        ("relabel", "Boxed-v0", "the replay, which learned of the actions"),
        (
            "encoder",
            "Renamed-v0",
            "the encoder, which learned of the observations vector (3,) float32 of 'Explored-v0' and not of "
            "pos (3,) float32",
        ),
        ("policy", "Renamed-v0", "the actor, which learned of the observations"),
        ("replay", "Renamed-v0", "the replay, which learned of the observations"),
    ],
)
def test_what_would_mean_something_else_is_refused_before_a_step(explored, tmp_path, plan, env, sentence):
    pattern = re.escape(sentence).replace(r"\.\*", ".*")
    with pytest.raises(UserError, match=pattern + ".*: fine-tune on an environment with the same"):
        carried_out(explored, tmp_path / "run", plan, env)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("plan", "env"), [("all", "Begins-v0"), ("encoder", "Boxed-v0"), ("scratch", "Renamed-v0")]
)
def test_what_is_harmless_or_not_carried_may_differ(explored, tmp_path, plan, env):
    assert carried_out(explored, tmp_path / "run", plan, env).exit_code == 0


CELLS = spaces.MultiDiscrete([4, 3], dtype=np.uint8)
TALL = spaces.Box(0, 255, (32, 16, 3), np.uint8)
WIDE = spaces.Box(0, 255, (16, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("there", "here", "same"),
    [
        (seen(a=THREE, b=THREE), seen(b=THREE, a=THREE), False),  # stacked in another order
        (seen(a=TALL), seen(a=WIDE), False),
        (seen(a=THREE, b=spaces.Box(-1, 1, (2,))), seen(a=spaces.Box(-1, 1, (2,)), b=THREE), False),
        (seen(a=THREE), seen(a=spaces.Box(-np.inf, np.inf, (3,), np.float32)), True),  # bounds are not read
        (seen(a=CELLS), seen(a=spaces.MultiDiscrete([3, 4], dtype=np.uint8)), False),
        (seen(a=CELLS), seen(a=spaces.Box(0, 255, (2,), np.uint8)), False),
        (seen(a=CELLS), seen(a=spaces.MultiDiscrete([4, 3], dtype=np.int64)), True),
    ],
)
def test_order_and_shapes_count_and_bounds_do_not(there, here, same):
    action = spaces.Discrete(2)
    known, now = {SPACES: describe_spaces(there, action)}, describe_spaces(here, action)
    if same:
        check_spaces(parse_plan("all"), "there", known, now)
        return
    with pytest.raises(UserError, match="learned of the observations"):
        check_spaces(parse_plan("encoder"), "there", known, now)
    check_spaces(parse_plan("scratch"), "there", known, now)


def test_factors_of_actions_count():
    here, known = seen(a=THREE), spaces.MultiDiscrete([3, 2])
    told = describe_spaces(here, known)
    assert told["actions"] == "MultiDiscrete(3, 2)"
    assert described_spaces(told)[1] == known
    check_spaces(parse_plan("all"), "there", {SPACES: told}, told)
    for other in (spaces.MultiDiscrete([2, 3]), spaces.Discrete(5)):  # of one width
        with pytest.raises(UserError, match=r"MultiDiscrete\(3, 2\)"):
            check_spaces(parse_plan("model"), "there", {SPACES: told}, describe_spaces(here, other))


def test_observations_in_words():
    described = describe_spaces(
        seen(a=THREE, cells=CELLS, mode=spaces.MultiDiscrete([5])), spaces.Discrete(2)
    )
    assert told_observations(described) == "a (3,) float32, cells 2 symbols of 4, 3, mode 1 symbol of 5"


def test_a_source_without_a_record_is_taken_as_it_is():
    check_spaces(parse_plan("all"), "there", {}, EXPLORED)


def test_a_run_does_not_go_on_where_its_environment_has_changed(explored, monkeypatch):
    monkeypatch.setattr(gymnasium.registry["Explored-v0"], "kwargs", {"action": THREE})
    result = (explored / "result.json").read_bytes()
    (explored / "result.json").unlink()
    sentence = r"'Explored-v0' has changed since .* acts by Box\(3\), not by Discrete\(3\); restore it"
    with pytest.raises(UserError, match=sentence):
        execute(settings("Explored-v0", "pretrain"), explored, QUIET)
    with pytest.raises(UserError, match=sentence):
        evaluate_run(explored, 1, 0, "cpu")
    (explored / "result.json").write_bytes(result)
