"""Search in the true environment: it sees what will happen, and leaves the environment alone."""

import dataclasses

import numpy as np
import torch

from agents import ActorCriticConfig, AgentConfig, DreamerAgent
from agents.search import GumbelConfig, SearchConfig
from envs import Simulator, branches, make_vector
from training.judging.evaluation import evaluate_policy
from training.judging.simulated import SimulatedModel, simulating
from world_model import for_size

MAZE = "mazes-collect,size=7,limit=12,num_levels=1,observe=symbols"
MODEL = for_size("tiny", deter=32, hidden=16, units=16, stoch=4, classes=4, depth=2, vector_layers=1)
SEARCH = SearchConfig(gumbel=GumbelConfig(simulations=16, depth=3, considered=4))


def agent_for(envs):
    config = AgentConfig(model=MODEL, behaviour=ActorCriticConfig(layers=1, starts=4))
    return DreamerAgent(envs.observation_space, envs.action_space, config, None, 0, torch.device("cpu"))


def test_a_step_is_the_environments_and_the_latent_the_filters():
    envs = make_vector(MAZE, 3, workers=0)
    agent = agent_for(envs)
    rows, state = envs.reset(1), agent.initial_state(3, 0)
    _, state, _ = agent.act(rows, state, "evaluate")
    model = SimulatedModel(agent, Simulator(MAZE))
    start = model.begin(branches(envs, MAZE), state.latent)
    action, noise = torch.eye(4)[torch.tensor([0, 1, 2])], torch.rand(3, 4)
    step = model.step(start, action, noise)
    rows = envs.step(np.array([0, 1, 2]))
    np.testing.assert_allclose(step.reward.numpy(), rows["reward"])
    batch = {key: torch.as_tensor(rows[key])[:, None] for key in ("cells", "is_first")}
    batch["action"] = action[:, None]
    expected, _, _ = agent.world_model.observe(batch, state.latent, noise[:, None])
    torch.testing.assert_close(step.state.latent.deter, expected.deter[:, 0])
    assert torch.equal(step.state.latent.stoch, expected.stoch[:, 0])
    np.testing.assert_allclose(step.discount.numpy(), 332 / 333, rtol=1e-6)


def test_an_episode_that_was_cut_off_pays_nothing_more():
    env = MAZE.replace("limit=12", "limit=1")
    envs = make_vector(env, 2, workers=0)
    agent = agent_for(envs)
    _, state, _ = agent.act(envs.reset(1), agent.initial_state(2, 0), "evaluate")
    model = SimulatedModel(agent, Simulator(env))
    action, noise = torch.eye(4)[:2], torch.rand(2, 4)
    last = model.step(model.begin(branches(envs, env), state.latent), action, noise)
    assert (last.discount > 0).all()  # cut off, not ended: its value counts
    beyond = model.step(last.state, action, noise)
    assert beyond.discount.tolist() == beyond.reward.tolist() == [0.0, 0.0]
    assert torch.equal(beyond.state.number, last.state.number)


def test_a_policy_that_knows_nothing_finds_gold_by_search_in_the_true_environment():
    envs = make_vector(MAZE, 1, workers=0)
    agent = agent_for(envs)

    def make(count):
        return make_vector(MAZE, count, workers=0)

    def mean(episodes):
        return np.mean([episode["return"] for episode in episodes])

    alone = mean(evaluate_policy(agent, make, 8, 5))
    gumbel = dataclasses.replace(SEARCH.gumbel, simulations=64, depth=6)
    with simulating(agent, dataclasses.replace(SEARCH, gumbel=gumbel), MAZE, 64) as planner:
        searched = mean(evaluate_policy(agent, planner.followed(make), 8, 5))
        again = mean(evaluate_policy(agent, planner.followed(make), 8, 5))
    assert searched > alone + 0.3
    assert searched == again
    assert agent.planners["evaluate"] is None
