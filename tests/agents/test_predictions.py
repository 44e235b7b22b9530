"""Agents whose model predicts something else than observations: what learns, and what is refused."""

import copy
import dataclasses
from typing import get_args

import gymnasium
import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig, make_agent
from expedition import UserError
from exploration import registry
from exploration.rewards.none import NoReward
from world_model import Predicts, for_size

SPACE = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)})
KINDS = get_args(Predicts)
BATCH, TIME = 3, 8


def make(predicts, intrinsic=None, kind="model-based"):
    model = for_size("tiny", deter=16, hidden=8, units=8, stoch=4, classes=4, vector_layers=1, free_nats=0.0)
    config = AgentConfig(
        kind=kind,
        model=dataclasses.replace(model, predicts=predicts),
        behaviour=ActorCriticConfig(imagination=3, layers=1, starts=4),
        optimizer=OptimizerConfig(lr=1e-3, warmup=0),
    )
    return make_agent(SPACE, gymnasium.spaces.Discrete(3), config, intrinsic, 0, torch.device("cpu"))


def rows(seed=0, reward=True):
    rng = np.random.default_rng(seed)
    made = {"vector": rng.normal(size=(BATCH, TIME, 4)).astype(np.float32)}
    made["action"] = np.eye(3, dtype=np.float32)[rng.integers(3, size=(BATCH, TIME))]
    for flag in ("is_first", "is_last", "is_terminal"):
        made[flag] = np.zeros((BATCH, TIME), bool)
    made["is_first"][0, 4] = True
    return made | ({"reward": rng.normal(size=(BATCH, TIME)).astype(np.float32)} if reward else {})


def states(agent):
    return {name: copy.deepcopy(part.state_dict()) for name, part in agent.components().items()}


@pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd"])
@pytest.mark.parametrize("predicts", KINDS)
def test_every_part_learns(predicts, intrinsic):
    agent = make(predicts, intrinsic)
    before = states(agent)
    for seed in range(3):  # heads that start at zero pass no gradient on at first
        metrics = agent.update(rows(seed, reward=intrinsic is None))
    assert all(value.isfinite() for value in metrics.values())
    changed = {
        n for n, state in states(agent).items() if any((state[k] != before[n][k]).any() for k in state)
    }
    idle = {"decoder"} if predicts == "none" else set()
    idle |= {"reward"} if intrinsic == "disagreement" else set()
    assert changed == set(agent.components()) - idle


@pytest.mark.parametrize("predicts", ["spr", "contrastive"])
def test_the_optimiser_knows_no_target_and_each_step_moves_it(predicts):
    agent = make(predicts)
    target = agent.world_model.decoder.target
    trained = {id(p) for group in agent.optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in target.parameters()}
    old, encoder = copy.deepcopy(target[0]), agent.world_model.encoder
    for seed in range(2):
        agent.update(rows(seed))
        for slow, was, fast in zip(
            target[0].parameters(), old.parameters(), encoder.parameters(), strict=True
        ):
            torch.testing.assert_close(slow, 0.99 * was + 0.01 * fast)
        old = copy.deepcopy(target[0])


def test_a_frozen_prediction_stays_with_its_target():
    agent = make("spr")
    agent.freeze("decoder")
    before = states(agent)["decoder"]
    for seed in range(2):
        agent.update(rows(seed))
    assert all(torch.equal(value, before[name]) for name, value in states(agent)["decoder"].items())


@pytest.mark.parametrize(("predicts", "shapes"), [("none", True), ("spr", False), ("reconstruction", False)])
def test_intrinsic_returns_shape_a_model_that_has_nothing_else_to_learn_from(predicts, shapes):
    """In phase 1 the critic reads the features of all others without gradient."""
    agent = make(predicts, "rnd")
    agent.update(rows(reward=False))  # heads that start at zero pass no gradient on
    agent.optimizer.step = lambda: None
    gradients = []
    for weight in (0.0, 1.0):
        agent.config = dataclasses.replace(
            agent.config, behaviour=dataclasses.replace(agent.config.behaviour, replay_critic=weight)
        )
        agent.behaviour.config = agent.config.behaviour
        batch = rows(reward=False)
        agent.generator.manual_seed(0)
        tensors = {key: torch.as_tensor(value) for key, value in batch.items()}
        agent.zero_grad()
        agent.losses(tensors, agent.draw_noise(tensors), torch.tensor(0.0))[0].backward()
        gradients.append(agent.world_model.encoder.mlp[0].weight.grad.clone())
    assert torch.equal(*gradients) is not shapes


class NeedsDecoder(NoReward):
    reads_decoder = True


@pytest.mark.parametrize(
    ("predicts", "kind"), [("spr", "model-based"), ("none", "model-based"), ("reconstruction", "model-free")]
)
def test_a_reward_that_reads_the_decoder_is_refused_without_one(predicts, kind, monkeypatch):
    found = {**registry.INTRINSIC, "picky": ("", lambda *_: NeedsDecoder())}
    monkeypatch.setattr(registry, "INTRINSIC", found)
    assert make("reconstruction", "picky").intrinsic.reads_decoder
    with pytest.raises(UserError, match="'picky' reads the model's decoder, .* choose another reward, or"):
        make(predicts, "picky", kind)


def test_the_twin_predicts_nothing_whatever_its_model_says():
    agent = make("spr", kind="model-free")
    assert "decoder" not in agent.components()
    assert agent._unrolled(TIME) == (0, 0)


def test_a_kind_that_is_unknown_gets_the_nearest():
    with pytest.raises(UserError, match="Unknown kind of prediction 'barlo': did you mean barlow"):
        make("barlo")


OWN = """
import torch
from world_model.prediction import Prediction

class Ones(Prediction):
    def __init__(self, space, encoder, config):
        super().__init__()
        self.head = torch.nn.Linear(config.features, 1)

    def losses(self, seen):
        return {"ones": (self.head(seen.features).squeeze(-1) - 1).square()}

def nothing(space, encoder, config):
    return None
"""


def test_a_class_of_the_users_stands_in_the_decoders_place(tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    agent = make("own_parts:Ones")
    assert set(agent.components()["decoder"].state_dict()) == {"head.weight", "head.bias"}
    for name, problem in (
        ("own_parts:nothing", "it gives no Prediction"),
        ("no_such:A", "no_such"),
    ):
        with pytest.raises(UserError, match=f"prediction '{name}' cannot be made .*{problem}.*PYTHONPATH"):
            make(name)
