"""What follows from settings alone: how often the policy is judged."""

import pytest

from agents import AgentConfig, PPOConfig
from training import RunConfig, TrainingConfig
from training.budget import evaluations


def run(phase="finetune", kind="model-based", steps=1000, rollout=256, **training):
    agent = AgentConfig(kind=kind, ppo=PPOConfig(rollout=rollout))
    intrinsic = "rnd" if phase == "pretrain" else None
    return RunConfig("catch-vector", phase, intrinsic, "tiny", steps, 0, agent, TrainingConfig(**training))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (run("pretrain"), 1),
        (run(), 2),  # zero-shot and at the end
        (run(offline_updates=5), 3),
        (run(evaluate_every=300), 2 + 3),
        (run(evaluate_every=500), 2 + 1),  # that at 1,000 is the one at the end
        (run(evaluation_episodes=0), 0),
        (run(searches=(4, 16), simulator=True, unseen="x"), 2),  # what is beyond is tried by itself
        (run(kind="ppo"), 1),
        (run(kind="ppo", evaluate_every=300), 1 + 2),  # between rollouts, at 512 and 768 of 0, 256, 512, 768
        (run(kind="ppo", evaluate_every=10, steps=1024), 1 + 3),  # one stands for many
        (run(kind="random", steps=0), 1),
    ],
)
def test_evaluations_are_those_before_between_and_after_the_steps(config, expected):
    assert evaluations(config) == expected
