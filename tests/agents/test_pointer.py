"""Actors that point: by an independent form, for any number of objects, in learning, search and fusion."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig, make_agent
from agents.base import LOG_PROB
from agents.pointer import PointerActor
from agents.programs.fused import FusedAgents
from agents.search import GumbelConfig, SearchConfig
from expedition.pointing import Pointing
from world_model import for_size, to_learner_actions
from world_model.objects import place_codes
from world_model.sizes import ObjectsConfig

CPU = torch.device("cpu")
MODEL = for_size("tiny", deter=16, hidden=8, units=8, stoch=4, classes=4, depth=2, vector_layers=1)
MODEL = dataclasses.replace(MODEL, objects=ObjectsConfig(units=8))
CONFIG = AgentConfig(
    model=MODEL,
    behaviour=ActorCriticConfig(imagination=3, layers=1, starts=2),
    optimizer=OptimizerConfig(lr=1e-3, warmup=2),
)
SEARCH = SearchConfig(update="search", act=True, gumbel=GumbelConfig(simulations=4, sampled_actions=4))
BATCH, TIME = 3, 4


def observed(count):
    rows = spaces.Box(-np.inf, np.inf, (count, 3), np.float32)
    return spaces.Dict({"blocks": rows, "blocks_mask": spaces.MultiDiscrete([2] * count, dtype=np.uint8)})


def acts(count):
    return Pointing([2, count], {1: "blocks"})


def make(count, seed=0, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    agent = make_agent(observed(count), acts(count), config, None, seed, CPU)
    with torch.no_grad():  # fresh heads hold the outer bins in a balance that one rounding tips
        heads = [agent.behaviour.critic, agent.behaviour.slow_critic]
        heads += [agent.world_model.reward] if config.kind == "model-based" else []
        for head in heads:
            head[-1].bias.copy_(-0.5 * (torch.arange(255) - 127).abs())
    return agent


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    made = {name: np.zeros((BATCH, TIME), bool) for name in ("is_first", "is_last", "is_terminal")}
    made["blocks"] = rng.normal(size=(BATCH, TIME, count, 3)).astype(np.float32)
    made["blocks_mask"] = rng.integers(2, size=(BATCH, TIME, count)).astype(np.uint8)
    numbers = rng.integers([2, count], size=(BATCH * TIME, 2))
    made["action"] = to_learner_actions(numbers, acts(count)).reshape(BATCH, TIME, -1)
    made["reward"] = rng.normal(size=(BATCH, TIME)).astype(np.float32)
    made[LOG_PROB] = np.full((BATCH, TIME), -1.5, np.float32)
    return made


def test_logits_by_object():
    torch.manual_seed(0)
    actor, features = PointerActor(6, 5, 2, (2, 4), (False, True)), torch.randn(3, 7, 6)
    logits = actor(features)
    assert logits.shape == (3, 7, 6)
    asked, (dense, point) = actor.trunk(features), actor.heads
    torch.testing.assert_close(logits[..., :2], F.linear(asked, dense.weight, dense.bias))
    for row in range(4):
        seen = point.objects.shared(asked) + point.objects.own.weight @ place_codes(4)[row]
        seen = point.objects.rest(F.silu(point.objects.norm(seen)))
        torch.testing.assert_close(logits[..., 2 + row], seen @ point.score.weight[0])


def test_it_begins_all_but_uniform():
    policy = make(5).behaviour.policy(torch.randn(50, MODEL.features))
    chances = policy.log_probs.exp()
    assert (chances[:, 2:] - 1 / 5).abs().max() < 0.02


def test_the_same_weights_point_at_more_objects():
    few, many = make(3), make(8, seed=1)
    for name, module in many.components().items():
        module.load_state_dict(few.components()[name].state_dict())
    features = torch.randn(5, MODEL.features)
    torch.testing.assert_close(
        many.behaviour.actor(features)[:, :5], few.behaviour.actor(features)
    )  # 2 of the first factor, and 3 of the rows


def test_a_plain_agent_has_a_dense_head():
    plain = dataclasses.replace(MODEL, objects=ObjectsConfig(kind="plain"))
    assert not isinstance(make(3, model=plain).behaviour.actor, PointerActor)


@pytest.mark.parametrize("changes", [{}, {"search": SEARCH}, {"kind": "model-free"}], ids=str)
@pytest.mark.parametrize("kind", ["graph", "plain"])
def test_every_agent_learns_from_sets_of_objects(changes, kind):
    model = dataclasses.replace(MODEL, objects=ObjectsConfig(kind=kind, units=8))
    agent = make(4, model=model, **changes)
    before = {name: p.clone() for name, p in agent.named_parameters()}
    for seed in range(3):
        metrics = agent.update(rows(4, seed))
        assert np.isfinite(metrics["loss/total"].item())
    still = {name for name, p in agent.named_parameters() if p.requires_grad and torch.equal(p, before[name])}
    assert still == set()
    state = agent.initial_state(BATCH, 0)
    row = {key: value[:, 0] for key, value in rows(4).items()}
    action, _, _ = agent.act(row, state, "train")
    assert action.shape == (BATCH, 6)
    assert (action[:, 2:].sum(-1) == 1).all()


@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_fused_agents_learn_as_each_does_alone(kind):
    alone, together = ([make(4, seed, kind=kind) for seed in (0, 1)] for _ in range(2))
    fused = FusedAgents(together)
    for update in range(2):
        batches = [rows(4, 10 * update + seed) for seed in (0, 1)]
        fused.update(batches)
        for agent, batch in zip(alone, batches, strict=True):
            agent.update(batch)
    for agent, twin in zip(alone, together, strict=True):
        for name, value in agent.state_dict().items():
            torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-3, atol=1e-4)
