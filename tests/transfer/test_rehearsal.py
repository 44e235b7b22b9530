"""Rehearsal and guidance: which trajectories are retrieved, their share, the clone and its schedule."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from agents import Guidance, GuidanceConfig, make_agent
from agents.distributions import Categorical
from agents.prior import PREFIX
from envs import make_vector
from expedition import UserError
from experiments.sharing.export import export
from tests.training.test_stops import Alarm
from tests.transfer import tiny
from tests.transfer.test_offline import ended, stop_at
from tests.transfer.tiny import QUIET
from training import Replay, RunConfig, execute, open_checkpoint
from training.config import RehearsalConfig
from transfer.cloning import clone
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan
from transfer.retrieval import retrieve

GUIDANCE = GuidanceConfig(share=1.0, decay=1.0, longest=3, updates=5, batch=4, length=6)
AGENT = dataclasses.replace(tiny.AGENT, guidance=GUIDANCE)
TRAINING = dataclasses.replace(tiny.TRAINING, rehearsal=RehearsalConfig(share=0.25, trajectories=6, starts=3))


def settings(phase="finetune", **changes):
    intrinsic = "rnd" if phase == "pretrain" else None
    config = RunConfig("catch-vector", phase, intrinsic, "tiny", 60, 5, AGENT, TRAINING)
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored") / "run"
    execute(settings("pretrain", steps=160, seed=1), folder, QUIET)
    return folder


def carried_out(plan, source, folder, **changes):
    config, parsed, opened = settings(**changes), parse_plan(plan), open_source(source)
    initialiser = Transfer(parsed, opened, config)
    return execute(config, folder, QUIET, transfer_record(parsed, opened), initialiser)


class Lanes:
    """A run's replay that was written by hand: rows of each environment."""

    def __init__(self, *lanes):
        self.lanes, self.num_envs = lanes, len(lanes)

    def lane(self, env):
        yield self.lanes[env]


def lane(*episodes, begins_amid=False):
    """Episodes of one number a row; the first may have lost its beginning."""
    values = np.array([value for episode in episodes for value in episode], np.float32)
    first = np.concatenate([np.arange(len(episode)) == 0 for episode in episodes])
    first[0] &= not begins_amid
    return {"x": values[:, None], "is_first": first}


def test_the_nearest_trajectories_are_retrieved():
    data = Lanes(
        lane([9, 0], [5, 1, 2], [1.5, 7], begins_amid=True),  # 9 is amid; 5 is 1 from 4; 1.5 is 0.5 from 1
        lane([-3, 0], [4.25, 8], [1]),  # -3 is 4 from 1; 4.25 is 0.25 from 4; the last has no step
    )
    starts = np.array([[1.0], [4.0]], np.float32)
    found = retrieve(data, lambda rows: rows["x"], starts, 3)
    assert [t["x"][:, 0].tolist() for t in found.trajectories] == [[4.25, 8], [1.5, 7], [5, 1, 2]]
    assert found.distances == [0.25, 0.5, 1.0]
    assert found.among == 4
    assert found.told() == {"trajectories": 3, "of": 4, "rows": 7, "nearest": 0.25, "farthest": 1.0}
    assert found.rows["x"][:, 0].tolist() == [4.25, 8, 1.5, 7, 5, 1, 2]
    assert len(retrieve(data, lambda rows: rows["x"], starts, 9).trajectories) == 4
    assert retrieve(Lanes(lane([1, 2], begins_amid=True)), lambda rows: rows["x"], starts, 3) is None


def test_distances_are_euclidean_in_the_embeddings():
    data = Lanes(lane([3, 0], [0, 0]))
    found = retrieve(data, lambda rows: np.repeat(rows["x"], 4, axis=1), np.full((1, 4), 1.0), 1)
    assert found.distances == [2.0]  # the root of four times (0 - 1)^2


def test_laid_rows_have_their_share_and_wait_for_the_new_ones():
    replay = Replay(2, {"x": ((), np.dtype(np.float32))}, 2**20, max_rows=40)
    stretch = replay.lay(10, 0.25)
    for env in range(2):
        replay.fill(env, stretch.start, {"x": np.zeros(10, np.float32)})
    replay.grow(0.75)
    assert replay.sample(50, 4, np.random.default_rng(0))["x"].max() == 0  # nothing else is there
    for _ in range(30):
        replay.add({"x": np.ones(2, np.float32)})
    drawn = replay.sample(20_000, 4, np.random.default_rng(1))["x"]
    assert (drawn == drawn[:, :1]).all()  # no sequence crosses from the one into the other
    assert abs(1 - drawn[:, 0].mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 20_000)
    again = Replay(2, replay.row_spec, 2**20, max_rows=40)
    again.load_state_dict(replay.state_dict())
    assert (again.sample(20_000, 4, np.random.default_rng(1))["x"] == drawn).all()


def test_what_is_rehearsed_is_the_sources_without_rewards(explored, tmp_path):
    carried_out("rehearsal", explored, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "transfer.json").read_text())["components"]["replay"]
    assert told["mode"] == "retrieve"
    assert told["trajectories"] == 6 < told["of"]
    assert told["nearest"] <= told["farthest"]
    saved = open_checkpoint(tmp_path / "run").load("replay")
    each = told["rows"] // 2
    assert saved["stretches"] == [[0, each, 0.25]]
    assert saved["growing"] == 0.75
    rows = saved["tail"]
    assert np.isnan(rows["reward"][:, :each]).all()
    assert not np.isnan(rows["reward"][:, each:]).any()
    assert rows["is_first"][:, 0].all()
    known = open_checkpoint(explored).load("replay")["tail"]["vector"].reshape(-1, rows["vector"].shape[-1])
    old = rows["vector"][:, :each].reshape(-1, rows["vector"].shape[-1])
    assert (old[:, None] == known[None]).all(-1).any(1).all()


@pytest.mark.parametrize("plan", ["rehearsal", "guidance", "rehearsal,actor=clone"])
def test_stopped_and_resumed_is_as_never_stopped(plan, explored, tmp_path, monkeypatch):
    carried_out(plan, explored, tmp_path / "whole")
    stop_at(monkeypatch, "send", 5, 9)
    stops = 0
    while carried_out(plan, explored, tmp_path / "parts").result is None:
        stops += 1
    assert stops == 2
    assert ended(tmp_path / "parts")[0] == ended(tmp_path / "whole")[0]
    assert ended(tmp_path / "parts")[1:] == ended(tmp_path / "whole")[1:]


def test_a_source_without_a_replay_gets_one_sentence(explored, tmp_path):
    export(explored, tmp_path / "shared")
    for plan in ("rehearsal", "guidance"):
        with pytest.raises(UserError, match=r"shared has none \(it was exported without\)"):
            carried_out(plan, tmp_path / "shared", tmp_path / "run")


def test_what_cannot_be_rehearsed_gets_one_sentence(explored, tmp_path):
    tight = dataclasses.replace(TRAINING, replay_gib=5e-6)
    with pytest.raises(UserError, match="stays beside all new rows"):
        carried_out("rehearsal", explored, tmp_path / "tight", training=tight)
    one = dataclasses.replace(TRAINING, rehearsal=RehearsalConfig(trajectories=1))
    with pytest.raises(UserError, match="retrieve more with --training.rehearsal.trajectories"):
        carried_out("rehearsal", explored, tmp_path / "one", training=one)
    free = dataclasses.replace(AGENT, kind="model-free")
    with pytest.raises(UserError, match="without its rewards"):
        carried_out("encoder=copy,replay=retrieve", explored, tmp_path / "free", agent=free)


@pytest.mark.parametrize("values", [{"share": 0.0}, {"share": 1.0}, {"trajectories": 0}, {"starts": 0}])
def test_rehearsal_has_ranges(values):
    with pytest.raises(UserError, match="training.rehearsal"):
        RehearsalConfig(**values)


def tiny_agent():
    envs = make_vector("catch-vector", 2, 32)
    agent = make_agent(envs.observation_space, envs.action_space, AGENT, None, 0, torch.device("cpu"))
    envs.close()
    return agent


def guide(config=GUIDANCE, steps=100):
    agent = tiny_agent()
    return Guidance(agent.world_model, agent.behaviour, config, steps)


def schedule(guidance, count, length, env_step):
    """Who acts in episodes of `length` steps, (count, length) bool."""
    generator = torch.Generator().manual_seed(0)
    share = guidance.share * guidance.strength(torch.tensor(float(env_step)))
    left, acts = torch.zeros(count, dtype=torch.long), []
    for t in range(length):
        left = guidance._acting(torch.full((count,), t == 0), left, share, generator)
        acts.append(left > 0)
    return torch.stack(acts, 1)


def test_a_guided_stretch_is_at_the_beginning_and_uniformly_long():
    acts = schedule(guide(), 6000, 8, 0)
    lengths = acts.sum(1)
    assert (acts == (torch.arange(8) < lengths[:, None])).all()  # then the agent, to the end
    counts = torch.bincount(lengths, minlength=4)
    assert counts[0] == 0
    assert (counts[1:] - 2000).abs().max() < 4 * math.sqrt(6000 * 2 / 9)


@pytest.mark.parametrize(("env_step", "share"), [(0, 0.5), (20, 0.25), (40, 0.0), (90, 0.0)])
def test_the_share_of_guided_episodes_falls_linearly(env_step, share):
    guidance = guide(dataclasses.replace(GUIDANCE, share=0.5, decay=0.4))
    begun = schedule(guidance, 6000, 1, env_step)[:, 0].float().mean()
    assert abs(begun - share) <= 4 * math.sqrt(share * (1 - share) / 6000)


def test_a_clone_does_what_the_data_do(explored):
    """Of three actions the data always take the second: the loss falls towards the unimix's, -log p."""
    guidance = guide(dataclasses.replace(GUIDANCE, updates=150, lr=1e-2))
    source = open_checkpoint(explored).load("replay")["tail"]
    rows = {
        name: source[name][0].copy() for name in ("vector", "action", "is_first", "is_last", "is_terminal")
    }
    rows["action"][:] = np.eye(3, dtype=np.float32)[1] * ~rows["is_first"][:, None]
    before = {name: value.clone() for name, value in guidance.state_dict().items()}
    config, device = dataclasses.replace(GUIDANCE, updates=150, lr=1e-2), torch.device("cpu")
    loss = clone(guidance, rows, config, 0, device, lambda: None)
    assert -math.log(0.99 + 0.01 / 3) - 1e-6 < loss < 0.1
    changed = {
        name.split(".")[0] for name, value in guidance.state_dict().items() if (value != before[name]).any()
    }
    assert changed == {"actor"}
    assert not any(parameter.requires_grad for parameter in guidance.parameters())


@pytest.mark.parametrize(("plan", "at"), [("actor=clone", 3), ("model,replay=copy", 1)])
def test_a_stop_amid_loading_is_obeyed_at_once(plan, at, explored, tmp_path, monkeypatch):
    alarm = Alarm(monkeypatch)
    alarm.set(at)
    stopped = carried_out(plan, explored, tmp_path / "run")
    assert (stopped.result, stopped.exit_code, alarm.steps) == (None, 143, at)
    assert not (tmp_path / "run" / "transfer.json").exists()
    alarm.set(0)
    assert carried_out(plan, explored, tmp_path / "run").result is not None


def test_the_clone_acts_first_and_then_the_agent():
    agent, width = tiny_agent(), 3
    agent.attach_prior(guide(dataclasses.replace(GUIDANCE, longest=1)))
    second = torch.tensor([-40.0, 0.0, -40.0])
    agent.prior.policy = lambda latent: Categorical(second.expand(len(latent.deter), width), (width,))
    state = agent.initial_state(64, 0)
    space = agent.observation_space["vector"]
    rows = {"vector": np.zeros((64, *space.shape), space.dtype), "is_first": np.ones(64, bool)}
    led, state, record = agent.act(rows, state, "train", 0)
    assert (led.argmax(1) == 1).all()
    assert (record["behaviour/log_prob"] == 0).all()  # of who chose
    assert set(record) == {"behaviour/log_prob"}
    own, _, record = agent.act({**rows, "is_first": np.zeros(64, bool)}, state, "train", 1)
    assert len(set(own.argmax(1))) == width
    assert (record["behaviour/log_prob"] < 0).all()


def test_guidance_acts_and_does_not_pull(explored, tmp_path):
    carried_out("guidance", explored, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "transfer.json").read_text())["components"]["actor"]
    assert (told["mode"], told["trajectories"]) == ("clone", 6)
    assert set(told["sha256"]) == {"encoder", "dynamics", "replay"}
    checkpoint = open_checkpoint(tmp_path / "run")
    assert not any(name.startswith(PREFIX) for name in checkpoint.load("replay")["tail"])
    losses = [
        line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if "loss/" in line
    ]
    assert losses
    assert not any("loss/prior" in line for line in losses)


@pytest.mark.parametrize(
    "values", [{"share": 1.5}, {"decay": -0.1}, {"longest": 0}, {"updates": 0}, {"length": 1}, {"lr": 0.0}]
)
def test_guidance_has_ranges(values):
    with pytest.raises(UserError, match="agent.guidance"):
        GuidanceConfig(**values)


def test_plans_that_mean_nothing():
    for text, sentence in (
        ("encoder=clone", "only the actor can be cloned"),
        ("critic=retrieve", "only the replay can be retrieved from"),
        ("replay=retrieve", "carry the encoder too"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse_plan(text)
