"""What models without a decoder foresee: probes that see no judged row and leave the agent alone."""

import dataclasses
import functools
import json

import gymnasium
import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig
from envs import make_vector
from expedition import UserError
from training import Logistics, RunConfig, TrainingConfig, execute
from training.judging.foresight import Foresight, embeddings_rank
from training.judging.probe import fit_probe
from training.session import build_agent
from world_model import Latent, for_size
from world_model.distributions import symlog

QUIET = Logistics(device="cpu", wandb="off", progress=False)
TRAINING = TrainingConfig(
    num_envs=2,
    batch=2,
    length=6,
    train_ratio=2.0,
    learning_starts=16,
    log_every=20,
    heldout=8,
    context=2,
    open_loop=4,
    evaluation_episodes=1,
    probe_updates=3,
    image_size=32,
)


def config(predicts="spr", env="catch-pixels", steps=40, **training):
    model = for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2)
    agent = AgentConfig(
        model=dataclasses.replace(model, predicts=predicts),
        behaviour=ActorCriticConfig(imagination=2, layers=1, starts=2),
    )
    training = dataclasses.replace(TRAINING, **training)
    return RunConfig(env, "pretrain", "none", "tiny", steps, 0, agent, training)


def made(settings, folder):
    make_envs = functools.partial(make_vector, settings.env, image_size=32)
    agent = build_agent(settings, make_envs(1), torch.device("cpu"))
    return agent, Foresight(settings, folder, make_envs, lambda: None)


def tensors(rows):
    return {key: torch.as_tensor(value) for key, value in rows.items()}


def measured(result):
    return {name for name in result["metrics"] if name.startswith(("open_loop", "probe"))}


ERRORS = {f"error_{moment}{name}" for moment in ("start", "end") for name in ("", "_sticky")}


@pytest.mark.parametrize("predicts", ["spr", "contrastive", "barlow", "none"])
def test_a_model_without_a_decoder_is_judged_and_seen_by_a_probe(predicts, tmp_path):
    result = execute(config(predicts), tmp_path, QUIET).result
    assert measured(result) == {f"probe_{name}" for name in ERRORS}
    assert len(result["probe_by_horizon_start"]) == len(result["probe_by_horizon_end_sticky"]) == 4
    films = {path.name for path in (tmp_path / "media").iterdir()}
    assert films == {f"probe_{moment}.{kind}" for moment in ("start", "end") for kind in ("gif", "png")}
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "probe/error" in told[0]
    assert any(f"loss/{predicts}" in line for line in told) is (predicts != "none")


@pytest.mark.parametrize(
    ("predicts", "settings", "readers"),
    [
        ("reconstruction", {}, {"open_loop"}),
        ("reconstruction", {"probe_all": True}, {"open_loop", "probe"}),
        ("reconstruction", {"probe_updates": 0}, {"open_loop"}),
        ("spr", {"probe_all": True}, {"probe"}),
        ("spr", {"probe_updates": 0}, set()),
    ],
)
def test_who_gets_a_probe(predicts, settings, readers, tmp_path):
    agent, foresight = made(config(predicts, **settings), tmp_path)
    found, films = foresight.judge(agent, "end")
    assert set(found) == {*readers, "embeddings"}
    assert {name.partition("/")[0] for name in films} == readers


def test_a_probe_of_no_updates_cannot_be_asked_for():
    with pytest.raises(UserError, match="probe_all asks for probes of no updates: set probe_updates, or"):
        config(probe_all=True, probe_updates=0)


def test_no_judged_sequence_fits_a_probe(tmp_path):
    _, foresight = made(config(env="Pendulum-v1"), tmp_path)
    assert foresight.probed["vector"].shape[:2] == (2 * 2 * 8, 6)  # twice as many, of two policies
    judged = {row.tobytes() for rows in foresight.heldout.values() for row in rows["vector"].reshape(-1, 3)}
    fitted = {row.tobytes() for row in foresight.probed["vector"].reshape(-1, 3)}
    assert len(judged) > 40
    assert not judged & fitted


def test_judging_leaves_agent_and_generators_as_they_were(tmp_path):
    agent, foresight = made(config(), tmp_path)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    generators = agent.generator.get_state(), torch.get_rng_state()
    first = foresight.judge(agent, "start")
    torch.rand(3)  # nothing may hang on the global generator
    assert foresight.judge(agent, "start") == first
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())
    assert all(p.grad is None for p in agent.parameters())
    assert torch.equal(agent.generator.get_state(), generators[0])


class Shown(torch.nn.Module):
    """A model whose latents hold the observation as it is, times a number."""

    def __init__(self, times):
        super().__init__()
        self.config, self.times = dataclasses.replace(config().agent.model, deter=4, units=32), times

    def initial(self, batch):
        return None

    def observe(self, rows, latent, noise):
        deter = self.times * rows["vector"]
        return Latent(deter, torch.zeros(*deter.shape[:2], 4, 4)), None, None


@pytest.mark.parametrize(("times", "least", "most"), [(1.0, 0.0, 0.2), (0.0, 0.9, 1.3)])
def test_a_probe_finds_what_the_latents_hold_and_nothing_else(times, least, most):
    """Shares of the variance that are left on rows to which it was not fitted."""
    space = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)})
    rng, model = np.random.default_rng(0), Shown(times)
    vectors = torch.tensor(rng.normal(size=(2, 40, 8, 4)), dtype=torch.float32)
    rows = {"vector": vectors[0], "action": torch.zeros(40, 8, 1), "is_first": torch.zeros(40, 8)}
    probe = fit_probe(model, space, rows, 300, 0)
    error = probe.loss(model.observe({"vector": vectors[1]}, None, None)[0].features, {"vector": vectors[1]})
    variance = 4 * symlog(vectors[1]).var()
    assert least < error["vector"].mean() / variance < most


def test_a_collapsed_encoder_has_rank_one(tmp_path):
    agent, foresight = made(config(env="catch-vector"), tmp_path)
    rows = foresight.heldout[""]
    assert embeddings_rank(agent, rows) > 2
    with torch.no_grad():
        agent.world_model.encoder.mlp[0].weight.zero_()
        agent.world_model.encoder.mlp[0].bias.fill_(1.0)  # every observation gives the same
    assert embeddings_rank(agent, rows) == pytest.approx(1, abs=1e-3)
