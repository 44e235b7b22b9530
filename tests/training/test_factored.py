"""Actions of several factors from end to end: agents learn and plan by them, and act in a program."""

import dataclasses

import numpy as np
import pytest

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig
from agents.search import GumbelConfig, SearchConfig
from expedition import load
from training import Logistics, RunConfig, TrainingConfig, execute
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1, workers=0)
MODEL = for_size("tiny", deter=16, hidden=16, units=16, stoch=2, classes=4, blocks=2, vector_layers=1)
BEHAVIOUR = ActorCriticConfig(imagination=1, layers=1, entropy=3e-3)
AGENT = AgentConfig(model=MODEL, behaviour=BEHAVIOUR, optimizer=OptimizerConfig(lr=1e-2, warmup=20))
TRAINING = TrainingConfig(
    num_envs=4,
    batch=8,
    length=5,
    train_ratio=24.0,
    learning_starts=64,
    replay_gib=0.005,
    evaluation_episodes=16,
    heldout=2,
    context=2,
    open_loop=3,
)


def config(env, steps, intrinsic=None, training=TRAINING, **changes):
    phase = "finetune" if intrinsic is None else "pretrain"
    agent = dataclasses.replace(AGENT, **changes)
    return RunConfig(f"tests.factored:{env}", phase, intrinsic, "tiny", steps, 0, agent, training)


@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_it_learns(kind, tmp_path):
    result = execute(config("Same-v0", 300, kind=kind), tmp_path / "run", QUIET).result
    assert result["metrics"]["return_start"] < 2.4
    assert result["metrics"]["return"] > 3.0  # 4 at most, 1.67 by chance


def test_it_learns_from_sampled_plans(tmp_path):
    search = SearchConfig(
        update="search", act=True, gumbel=GumbelConfig(simulations=4, considered=2, sampled_actions=4)
    )
    short = dataclasses.replace(TRAINING, evaluation_episodes=2, train_ratio=4.0)
    result = execute(config("Pair-v0", 100, training=short, search=search), tmp_path / "run", QUIET).result
    assert result["updates"] > 0


def test_a_program_gets_a_number_for_each_factor(tmp_path):
    short = dataclasses.replace(TRAINING, evaluation_episodes=0)
    execute(config("Pair-v0", 40, training=short), tmp_path / "run", QUIET)
    explorer = load(tmp_path / "run", "cpu")
    env = explorer.env()
    observation, _ = env.reset(seed=0)
    action = explorer.act(observation)
    assert env.action_space.contains(action)
    explorer.see(observation)
    following = env.step(action)[0]
    explorer.see(following, np.array([2, 0]))
    assert explorer._state.action.tolist() == [[0, 0, 1, 1, 0]]
    dream = explorer.dream(3)
    assert dream.actions.shape == (4, 5)
    assert (dream.actions[1:, :3].sum(-1) == 1).all()
