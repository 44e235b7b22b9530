"""What follows from a run's settings before it begins: updates, rows, and when it is judged."""

from __future__ import annotations

from training.config import RunConfig


def planned_updates(config: RunConfig) -> int:
    """Updates made offline, and those that the budget pays for if the replay can be sampled; or rollouts."""
    training = config.training
    if config.agent.kind == "ppo":
        return config.steps // config.agent.ppo.rollout
    if not training.offline_updates and config.steps // training.num_envs < training.length:
        return 0
    since = max(0, config.steps - training.learning_starts)
    owed = int(since * training.train_ratio / (training.batch * training.length))
    return training.offline_updates + owed


def earlier_moments(config: RunConfig) -> tuple[str, ...]:
    """When the policy is judged before the first step: at phase 2's `start`, and after `offline` updates."""
    if config.phase == "pretrain":
        return ()
    return ("start",) + ("offline",) * (config.training.offline_updates > 0)


def evaluations(config: RunConfig) -> int:
    """How often the policy is judged on its own episodes: before the first step, between steps, last."""
    if not config.training.evaluation_episodes:
        return 0
    if config.agent.kind == "random":
        return 1
    if config.agent.kind == "ppo":
        return _midway(config) + 1
    return len(earlier_moments(config)) + _midway(config) + 1


def _midway(config: RunConfig) -> int:
    """Evaluations during training; PPO's come between two rollouts, so that one may stand for several."""
    every = config.training.evaluate_every
    if not every:
        return 0
    if config.agent.kind == "ppo":
        rollout = config.agent.ppo.rollout
        rollouts = int(config.steps / rollout + 0.5)  # as `rollout_rows` cuts the budget
        return len({n * rollout // every for n in range(1, rollouts)} - {0})
    return (config.steps - 1) // every


def most_rows(steps: int, num_envs: int) -> int:
    """Most rows of one environment that `steps` steps can fill: each may be followed by a first row."""
    return 2 * (steps // num_envs + 1) + 2
