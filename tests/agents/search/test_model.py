"""The world model as a search sees it, and what is refused."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from agents import AgentConfig, DreamerAgent
from agents.search import (
    GumbelConfig,
    ImaginedModel,
    MPPIConfig,
    SearchConfig,
    make_planner,
    reward_of_rows,
)
from expedition import UserError
from world_model import action_width, for_size
from world_model.distributions import twohot_mean

SPACE = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)})
DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))
FACTORED = gymnasium.spaces.MultiDiscrete([3, 2])
CONFIG = AgentConfig(
    model=for_size("tiny", deter=32, hidden=16, units=16, stoch=4, classes=4, depth=2, vector_layers=1)
)
COUNT = 6


def make(actions=DISCRETE, intrinsic=None):
    agent = DreamerAgent(SPACE, actions, CONFIG, intrinsic, 0, torch.device("cpu"))
    with torch.no_grad():  # heads that start at zero would say nothing
        for head in (agent.world_model.reward, agent.behaviour.critic):
            head[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
    return agent


def latent_of(agent):
    latent = agent.world_model.initial(COUNT)
    generator = torch.Generator().manual_seed(1)
    return latent.map(lambda x: torch.rand(x.shape, generator=generator))


def test_a_step_is_what_the_heads_say_of_the_next_latent():
    agent = make()
    model, latent = ImaginedModel(agent.world_model, agent.behaviour), latent_of(agent)
    action, noise = torch.eye(3).repeat(2, 1), torch.rand(COUNT, 4)
    step = model.step(latent, action, noise)
    following = agent.world_model.dynamics.predict(latent, action, noise)
    assert torch.equal(step.state.deter, following.deter)
    assert torch.equal(step.reward, agent.world_model.predict_reward(following.features))
    assert torch.equal(step.discount, agent.world_model.predict_continue(following.features))
    assert not step.reward.requires_grad
    judged = model.evaluate(latent, torch.zeros(COUNT, 0))
    assert torch.equal(judged.value, twohot_mean(agent.behaviour.critic(latent.features)))
    policy = agent.behaviour.policy(latent.features)
    torch.testing.assert_close(judged.logits.softmax(-1), policy.log_probs.exp())


def test_candidates_of_a_box_are_the_policys_samples():
    agent = make(BOX)
    model, latent = ImaginedModel(agent.world_model, agent.behaviour), latent_of(agent)
    choices = torch.randn(COUNT, 5, 2)
    judged = model.evaluate(latent, choices)
    policy = agent.behaviour.policy(latent.features)
    expected = (policy.mean[:, None] + policy.std[:, None] * choices).clamp(-1, 1)
    torch.testing.assert_close(judged.candidates, expected)
    assert (judged.logits == judged.logits[:, :1]).all()


def test_candidates_of_several_factors_are_the_policys_samples():
    agent = make(FACTORED)
    with torch.no_grad():  # a policy that prefers 2 of three, and 1 of two
        agent.behaviour.actor[-1].bias.copy_(torch.tensor([0.0, 0, 9, 0, 9]))
    model, latent = ImaginedModel(agent.world_model, agent.behaviour), latent_of(agent)
    judged = model.evaluate(latent, torch.rand(COUNT, 500, 2))
    assert (judged.candidates[..., :3].sum(-1) == 1).all()
    assert (judged.candidates[..., 3:].sum(-1) == 1).all()
    share = (judged.candidates == torch.tensor([0.0, 0, 1, 0, 1])).all(-1).float().mean()
    assert 0.96 < share < 1  # (1 - 0.01 * 2 / 3) * (1 - 0.01 / 2) = 0.988 at most, by the unimix
    assert (judged.logits == judged.logits[:, :1]).all()


def test_a_reward_of_rows_serves_a_step():
    agent = make(intrinsic="icm")
    reward = reward_of_rows(agent._imagined_reward)
    model, latent = ImaginedModel(agent.world_model, agent.behaviour, reward), latent_of(agent)
    noise = torch.rand(COUNT, 4)
    action = torch.eye(3).repeat(2, 1)
    rows, actions = agent.world_model.imagine(latent, lambda *_: action, torch.zeros(1), noise[None])
    expected = agent._imagined_reward(rows, actions)[:, 1]
    assert expected.std() > 0
    torch.testing.assert_close(model.step(latent, action, noise).reward, expected)


@pytest.mark.parametrize(
    ("kind", "actions"), [("gumbel", DISCRETE), ("gumbel", FACTORED), ("gumbel", BOX), ("mppi", BOX)]
)
def test_every_planner_plans_in_a_world_model(kind, actions):
    agent = make(actions)
    model, latent = ImaginedModel(agent.world_model, agent.behaviour), latent_of(agent)
    config = SearchConfig(
        kind=kind,
        gumbel=GumbelConfig(simulations=6, sampled_actions=4),
        mppi=MPPIConfig(samples=8, elites=4, policy_samples=2, iterations=2),
    )
    planner = make_planner(config, model, actions)
    noise = planner.draw_noise(COUNT, torch.Generator().manual_seed(0))
    plan = planner.plan(latent, noise)
    width = 3 if actions is DISCRETE else 4
    assert plan.action.shape == (COUNT, action_width(actions))
    assert plan.candidates.shape == (COUNT, width, plan.action.shape[1])
    assert plan.weights.shape == plan.prior.shape == (COUNT, width)
    torch.testing.assert_close(plan.weights.sum(-1), torch.ones(COUNT))
    torch.testing.assert_close(plan.prior.sum(-1), torch.ones(COUNT))
    assert (plan.candidates == plan.action[:, None]).all(-1).any(1).all()
    assert not any(x.requires_grad for x in plan)
    one_loss = -(plan.weights * agent.behaviour.policy(latent.features[:, None]).log_prob(plan.candidates))
    assert one_loss.shape == (COUNT, width)


@pytest.mark.parametrize("actions", [DISCRETE, FACTORED], ids=str)
def test_shooting_refuses_discrete_actions(actions):
    agent = make(actions)
    with pytest.raises(UserError, match=r"with (Multi)?Discrete\(.*\) choose agent.search.kind 'gumbel'.$"):
        make_planner(SearchConfig(kind="mppi"), ImaginedModel(agent.world_model, agent.behaviour), actions)


@pytest.mark.parametrize(
    ("config", "settings", "sentence"),
    [
        (GumbelConfig, {"sampled_actions": 1}, "sampled_actions is 1: it must be a number of at least 2."),
        (GumbelConfig, {"considered": 1}, "considered is 1: it must be a number of at least 2."),
        (GumbelConfig, {"simulations": 0}, "simulations is 0: it must be a number of at least 1."),
        (MPPIConfig, {"elites": 700}, "elites is 700: choose at most as many as there are candidates, 536."),
        (MPPIConfig, {"min_std": 3.0}, "min_std is 3.0: choose at most max_std, 2.0."),
        (SearchConfig, {"kind": "gumble"}, "did you mean gumbel?"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_one_sentence(config, settings, sentence):
    with pytest.raises(UserError) as error:
        config(**settings)
    assert str(error.value).endswith(sentence)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SearchConfig().kind = "mppi"
