"""Phase 1 never learns from the environment's reward: changing it changes no parameter."""

import dataclasses

import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig
from envs.suites.grids.gridworlds import Catch
from envs.suites.grids.mazes import Mazes
from exploration import INTRINSIC
from training import Logistics, RunConfig, TrainingConfig, execute
from training.storage.checkpoint import open_checkpoint
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1)
COMPONENTS = ("encoder", "dynamics", "decoder", "reward", "continue", "actor", "critic", "normalizers")
AGENT = AgentConfig(
    model=for_size(
        "tiny", deter=16, hidden=8, units=8, stoch=2, classes=4, depth=1, blocks=2, vector_layers=1
    ),
    behaviour=ActorCriticConfig(imagination=3, layers=1),
    optimizer=OptimizerConfig(lr=1e-3, warmup=0),
)


def components(kind):
    """Names of what an agent of a kind consists of."""
    return COMPONENTS if kind == "model-based" else ("encoder", "dynamics", "actor", "critic", "normalizers")


def run(directory, env, intrinsic, steps=60, kind="model-based"):
    config = RunConfig(
        env=env,
        phase="finetune" if intrinsic is None else "pretrain",
        intrinsic=intrinsic,
        size="tiny",
        steps=steps,
        seed=0,
        agent=dataclasses.replace(AGENT, kind=kind),
        training=TrainingConfig(
            num_envs=2,
            batch=2,
            length=6,
            train_ratio=3.0,
            learning_starts=30,
            replay_gib=0.005,
            log_every=50,
            evaluation_episodes=2,
            heldout=2,
            context=2,
            open_loop=3,
            image_size=32,
        ),
    )
    outcome = execute(config, directory, QUIET)
    assert outcome.result is not None
    assert outcome.result["updates"] >= 5
    checkpoint = open_checkpoint(directory)
    names = (*components(kind), *(("intrinsic",) if intrinsic else ()))
    weights = {f"{name}/{key}": value for name in names for key, value in checkpoint.load(name).items()}
    return weights, checkpoint.load("replay")["tail"], checkpoint.load("training")["optimizer"]


@pytest.fixture
def other_rewards(monkeypatch):
    """From here on, Catch and Mazes pay something else in every step."""

    def change(game):
        step = game.step

        def paid(self, action):
            observation, reward, terminated, truncated, info = step(self, action)
            return observation, 17.0 - 5 * reward + int(action), terminated, truncated, info

        monkeypatch.setattr(game, "step", paid)

    def install():
        change(Catch)
        change(Mazes)

    return install


def different(left, right):
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


@pytest.mark.parametrize(
    ("env", "intrinsic"),
    [
        *[("catch-vector", name) for name in INTRINSIC if name != "language"],
        ("mazes-goal,observe=symbols,size=7", "language"),
        ("catch-pixels", "disagreement"),
        ("catch-pixels", "rnd"),
    ],
)
@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_no_parameter_changes_with_the_reward(kind, env, intrinsic, tmp_path, other_rewards):
    before, rows, moments = run(tmp_path / "before", env, intrinsic, kind=kind)
    other_rewards()
    after, other_rows, other_moments = run(tmp_path / "after", env, intrinsic, kind=kind)
    # the change did arrive, under the name that no learner reads
    assert not np.array_equal(rows["task/reward"], other_rows["task/reward"])
    assert "reward" not in rows
    assert different(before, after) == []
    for name, held in moments.items():
        assert different(held, other_moments[name]) == []
    for name in rows.keys() - {"task/reward"}:
        assert np.array_equal(rows[name], other_rows[name]), name


@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_phase_two_does_learn_from_it(kind, tmp_path, other_rewards):
    # the same comparison sees a reward that is meant to be seen
    before, rows, _ = run(tmp_path / "before", "catch-vector", None, kind=kind)
    other_rewards()
    after, _, _ = run(tmp_path / "after", "catch-vector", None, kind=kind)
    assert "reward" in rows
    changed = {name.partition("/")[0] for name in different(before, after)}
    assert changed == set(components(kind))
