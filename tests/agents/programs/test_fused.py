"""Agents updated as one program learn what each learns by itself."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig, make_agent
from agents.base import LOG_PROB, rows_on
from agents.prior import PolicyPrior
from agents.programs.fused import FusedAgents
from expedition import UserError
from world_model import for_size, to_learner_actions

SPACES = {
    "image": gymnasium.spaces.Dict({"image": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)}),
    "vector": gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)}),
}
SPACES["symbols"] = gymnasium.spaces.Dict({"cells": gymnasium.spaces.MultiDiscrete([4, 2], dtype=np.uint8)})
DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))
FACTORED = gymnasium.spaces.MultiDiscrete([3, 2])
CONFIG = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, units=8, stoch=4, classes=4, depth=2, vector_layers=1),
    behaviour=ActorCriticConfig(imagination=3, layers=2, starts=4, center=True),
    optimizer=OptimizerConfig(lr=1e-3, warmup=2),
)
CPU = torch.device("cpu")
BATCH, TIME = 3, 6


def make(seed, kind="vector", actions=DISCRETE, intrinsic=None, agent="model-based", config=CONFIG):
    """An agent whose heads expect small values.

    Fresh heads hold the outer bins, near 5e8, in a balance that one rounding tips.
    """
    config = dataclasses.replace(config, kind=agent)
    agent = make_agent(SPACES[kind], actions, config, intrinsic, seed, CPU)
    heads = [agent.behaviour.critic, agent.behaviour.slow_critic]
    heads += [agent.world_model.reward] if config.kind == "model-based" else []
    with torch.no_grad():
        for head in heads:
            head[-1].bias.copy_(-0.5 * (torch.arange(255) - 127).abs())
    return agent


def rows(seed, kind="vector", actions=DISCRETE, intrinsic=None, agent="model-based"):
    rng = np.random.default_rng(seed)
    (key, box), *_ = SPACES[kind].spaces.items()
    made = {"is_first": rng.random((BATCH, TIME)) < 0.2, "is_last": np.zeros((BATCH, TIME), bool)}
    made["is_terminal"] = rng.random((BATCH, TIME)) < 0.2
    shape = (BATCH, TIME, *box.shape)
    drawn = {"image": lambda: rng.integers(256, size=shape), "vector": lambda: rng.normal(size=shape)}
    drawn["symbols"] = lambda: rng.integers(box.nvec, size=shape)
    made[key] = drawn[kind]().astype(box.dtype)
    if actions is DISCRETE:
        made["action"] = np.eye(3, dtype=np.float32)[rng.integers(3, size=(BATCH, TIME))]
    elif actions is FACTORED:
        made["action"] = to_learner_actions(rng.integers([3, 2], size=(BATCH * TIME, 2)), FACTORED)
        made["action"] = made["action"].reshape(BATCH, TIME, 5)
    else:
        made["action"] = rng.uniform(-1, 1, (BATCH, TIME, 2)).astype(np.float32)
    if intrinsic is None:
        made["reward"] = rng.normal(size=(BATCH, TIME)).astype(np.float32)
        made["reward"][0, 0] = np.nan
    if agent == "model-free":
        made[LOG_PROB] = np.full((BATCH, TIME), -1.0, np.float32)
    return made


def assert_near(one, two, factor=1.0):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=2e-4 * factor, atol=2e-5 * factor, msg=lambda m, n=name: f"{n}: {m}"
        )


CASES = [
    ("vector", DISCRETE, "disagreement"),
    ("vector", BOX, "disagreement"),
    ("vector", DISCRETE, "rnd"),
    ("vector", BOX, "rnd"),
    ("vector", DISCRETE, "none"),
    ("vector", BOX, None),
    ("image", DISCRETE, "disagreement"),
    ("image", BOX, "rnd"),
    ("symbols", DISCRETE, "disagreement"),
    ("symbols", BOX, "rnd"),
    *[("vector", DISCRETE, name) for name in ("byol-explore", "icm", "apt", "lbs", "e3b", "random-data")],
    ("vector", FACTORED, "icm"),
    ("vector", FACTORED, None, "model-free"),
    ("vector", DISCRETE, None, "model-free"),
    ("vector", BOX, "rnd", "model-free"),
]


def predicting(predicts):
    return dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, predicts=predicts))


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_fused_agents_learn_as_each_does_alone(case):
    learn_alike(case, CONFIG)


@pytest.mark.parametrize("predicts", ["spr", "contrastive", "barlow", "none"])
@pytest.mark.parametrize("case", [("vector", DISCRETE, None), ("symbols", DISCRETE, "rnd")], ids=str)
def test_fused_agents_without_a_decoder_too(case, predicts):
    learn_alike(case, predicting(predicts))


def learn_alike(case, config):
    alone, together = ([make(seed, *case, config=config) for seed in (0, 7)] for _ in range(2))
    fused = FusedAgents(together)
    for update in range(3):
        batches = [rows(10 * update + seed, *case) for seed in (0, 7)]
        found = fused.update(batches)
        for agent, twin, batch, metrics in zip(alone, together, batches, found, strict=True):
            assert_near(agent.update(batch), metrics)
            assert torch.equal(agent.generator.get_state(), twin.generator.get_state())
    for agent, twin in zip(alone, together, strict=True):
        assert_near(dict(agent.state_dict()), dict(twin.state_dict()))
        left, right = agent.training_state()["optimizer"], twin.training_state()["optimizer"]
        assert left.keys() == right.keys()
        for name in left:
            assert left[name]["step"] == right[name]["step"] == 3
            assert_near({"mean": left[name]["mean"]}, {"mean": right[name]["mean"]}, 50)  # in units of 1
    # the seeds are apart: what was compared is not one agent twice
    assert not torch.equal(
        together[0].world_model.dynamics.posterior_out.weight,
        together[1].world_model.dynamics.posterior_out.weight,
    )


def test_one_agent_knows_nothing_of_the_others():
    together = [make(seed) for seed in (0, 1)], [make(seed) for seed in (0, 2)]
    fresh = together[0][0].world_model.dynamics.posterior_out.weight.clone()
    for pair, other in zip(together, (1, 2), strict=True):
        fused = FusedAgents(pair)
        for _ in range(2):  # the first step of a warm-up moves nothing
            fused.update([rows(0), rows(other)])
    assert not torch.equal(together[0][0].world_model.dynamics.posterior_out.weight, fresh)
    for name, value in together[0][0].state_dict().items():
        assert torch.equal(value, together[1][0].state_dict()[name]), name


def test_frozen_parts_stay():
    agents = [make(seed) for seed in (0, 1)]
    for agent in agents:
        agent.freeze("encoder")
    before = [{k: v.clone() for k, v in agent.world_model.encoder.state_dict().items()} for agent in agents]
    actors = [agent.behaviour.actor[-1].weight.clone() for agent in agents]
    fused = FusedAgents(agents)
    for _ in range(2):  # the first step of a warm-up moves nothing
        fused.update([rows(0), rows(1)])
    for agent, encoder, actor in zip(agents, before, actors, strict=True):
        assert all(torch.equal(v, encoder[k]) for k, v in agent.world_model.encoder.state_dict().items())
        assert not torch.equal(agent.behaviour.actor[-1].weight, actor)


def test_a_fused_agent_still_learns_by_itself_and_can_be_fused_again():
    alone, together = ([make(seed) for seed in range(3)] for _ in range(2))
    batches = [[rows(10 * update + seed) for seed in range(3)] for update in range(3)]
    FusedAgents(together).update(batches[0])
    together[2].update(batches[1][2])
    FusedAgents(together[:2]).update(batches[1][:2])
    FusedAgents(together).update(batches[2])
    for agent, *mine in zip(alone, *batches, strict=True):
        for batch in mine:
            agent.update(batch)
    for agent, twin in zip(alone, together, strict=True):
        assert_near(dict(agent.state_dict()), dict(twin.state_dict()))


def test_what_was_loaded_into_one_agent_is_what_the_program_updates():
    together, source = [make(seed) for seed in (0, 1)], make(5)
    fused = FusedAgents(together)
    fused.update([rows(0), rows(1)])
    for name, part in together[1].components().items():
        part.load_state_dict(source.components()[name].state_dict())
    together[1].load_training_state(source.training_state())
    for seed in (2, 4):  # the first step of a warm-up moves nothing
        fused.update([rows(seed), rows(seed + 1)])
        source.update(rows(seed + 1))
    assert_near(dict(source.state_dict()), dict(together[1].state_dict()))


class TestRefusals:
    def test_other_settings(self):
        other = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(lr=2e-3))
        with pytest.raises(UserError, match="differ in nothing but their seed"):
            FusedAgents([make(0), make(1, config=other)])

    def test_other_shapes(self):
        with pytest.raises(UserError, match="differ in nothing but their seed"):
            FusedAgents([make(0), make(1, actions=BOX)])

    def test_other_frozen_parts(self):
        frozen = make(1)
        frozen.freeze("encoder")
        with pytest.raises(UserError, match="differ in nothing but their seed"):
            FusedAgents([make(0), frozen])

    def test_a_loss_that_replaces_a_buffer(self):
        pair = [make(0), make(1)]
        real = pair[0]._losses

        def replacing(*arguments):
            scale = pair[0].behaviour.return_scale
            scale.low = scale.low + 1
            return real(*arguments)

        pair[0]._losses = replacing
        with pytest.raises(RuntimeError, match="change buffers in place, and replaces .*return_scale.low"):
            FusedAgents(pair).update([rows(0), rows(1)])

    def test_priors(self):
        agents = [make(0), make(1)]
        teacher = make(2)
        agents[1].attach_prior(PolicyPrior(teacher.world_model, teacher.behaviour, CONFIG.prior, 100))
        with pytest.raises(UserError, match="policy prior cannot be fused"):
            FusedAgents(agents)


class TestNoise:
    @pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
    def test_noise_drawn_beforehand_is_the_generators(self, actions):
        agent = make(0, actions=actions, intrinsic="rnd")
        batch = rows_on(CPU, rows(0, actions=actions, intrinsic="rnd"))
        before = {name: value.clone() for name, value in agent.state_dict().items()}
        state = agent.generator.get_state()
        noise = agent.draw_noise(batch, torch.Generator().manual_seed(0))
        assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())
        assert torch.equal(agent.generator.get_state(), state)
        # posterior, then states and actions of 3 imagined steps, from the last 4 rows of each sequence
        source, starts = torch.Generator().manual_seed(0), BATCH * 4
        assert torch.equal(noise.posterior, torch.rand(BATCH, TIME, 4, generator=source))
        assert torch.equal(noise.prior, torch.rand(3, starts, 4, generator=source))
        drawn = torch.rand(3, starts, 1, generator=source) if actions is DISCRETE else None
        drawn = torch.randn(3, starts, 2, generator=source) if drawn is None else drawn
        assert torch.equal(noise.policy, drawn)
        agent.generator.manual_seed(0)
        assert all(torch.equal(a, b) for a, b in zip(agent.draw_noise(batch)[:-1], noise[:-1], strict=True))

    def test_rows_put_side_by_side_need_the_noise_of_one(self):
        agent, batch = make(0), rows_on(CPU, rows(0))
        stacked = {key: torch.stack([value, value]) for key, value in batch.items()}
        one, two = (agent.draw_noise(x, torch.Generator().manual_seed(0)) for x in (batch, stacked))
        assert all(torch.equal(a, b) for a, b in zip(one[:-1], two[:-1], strict=True))

    def test_noise_of_another_shape_is_noticed(self):
        agent, batch = make(0), rows_on(CPU, rows(0))
        noise = agent.draw_noise(batch)
        step = torch.tensor(0.0)
        with pytest.raises(ValueError, match="zip"):  # too short for the sequences
            agent.losses(batch, noise._replace(posterior=noise.posterior[:, 1:]), step)
        with pytest.raises(ValueError, match="zip"):  # policy and prior of different horizons
            agent.losses(batch, noise._replace(policy=noise.policy[1:]), step)
        with pytest.raises(RuntimeError, match="size"):
            agent.losses(batch, noise._replace(prior=noise.prior[:, 1:]), step)
