"""Acting in the environments and writing what arrives into the replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from agents import ActState, Agent
from agents.prior import PriorState
from envs import DID, SCENE, TASK, EnvironmentFailed, Rows, VectorEnv, environment_words
from exploration import EARNED, GoalReward, Language, Vocabulary, make_goal_reward
from training.config import RunConfig
from world_model import Latent, action_width, to_env_actions


class Collected(NamedTuple):
    """What a step gave: actions that reached an environment, episodes that ended, and the rows."""

    steps: int
    episodes: list[dict[str, Any]]
    rows: Rows


class RowSink(Protocol):
    """Where collected rows go: a replay, or what stands for it."""

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Take one row for each environment."""


def row_spec(envs: VectorEnv, agent: Agent, task_reward: bool) -> dict[str, tuple[tuple, np.dtype]]:
    """Shape and dtype of everything in a replayed row."""
    width = action_width(envs.action_space)
    flags = ("is_first", "is_last", "is_terminal")
    spec = {key: (box.shape or (), np.dtype(box.dtype)) for key, box in envs.observation_space.items()}
    spec |= {"action": ((width,), np.dtype(np.float32))}
    spec |= {"reward" if task_reward else TASK + "reward": ((), np.dtype(np.float32))}
    spec |= {TASK + name: ((), np.dtype(np.float32)) for name in envs.task_rewards}
    spec |= {flag: ((), np.dtype(bool)) for flag in flags}
    spec |= {EARNED: ((), np.dtype(np.float32))} if isinstance(agent.intrinsic, Language) else {}
    return spec | agent.record_spec


def goals_of(config: RunConfig) -> GoalReward | None:
    """What rewards a run's rows as they are collected: in phase 1 by the reward `language`, else nothing.

    Raises:
        UserError: the environment has no captions, or who should suggest goals is not there.
    """
    if config.phase != "pretrain" or config.intrinsic != "language":
        return None
    words = Vocabulary(**dataclasses.asdict(environment_words(config.env)))
    return make_goal_reward(config.agent.intrinsic.language, words, config.training.num_envs)


class Collector:
    """Steps the environments with the agent.

    Args:
        envs: the environments.
        agent: who acts.
        replay: where rows go.
        task_reward: whether the environment's reward is for the learner (phase 2). Otherwise it is stored as
            `task/reward`, which nobody who learns reads.
        seed: of environments and action samples.
        goals: rewards rows for what their captions say (`goals_of`); the environments then tell captions.

    Attributes:
        failure: what an environment failed with in the last step. Its rows are taken like any others, so that
            a checkpoint can be written before the failure is told.
    """

    def __init__(
        self,
        envs: VectorEnv,
        agent: Agent,
        replay: RowSink,
        task_reward: bool,
        seed: int,
        goals: GoalReward | None = None,
    ) -> None:
        self.envs = envs
        self.agent = agent
        self.replay = replay
        self.goals = goals
        self.reward_name = "reward" if task_reward else TASK + "reward"
        self.failure: EnvironmentFailed | None = None
        self._rows: Rows | None = None
        self._actions = np.zeros((envs.num_envs, action_width(envs.action_space)), np.float32)
        self._state = agent.initial_state(envs.num_envs, seed)
        self._seed = seed

    def start(self) -> None:
        """Begin the first episodes."""
        self._rows = self.envs.reset(self._seed)

    def step(self, env_step: int) -> Collected:
        """Act once in every environment: `send`, then `receive`."""
        self.send(env_step)
        return self.receive()

    def send(self, env_step: int) -> int:
        """Store the waiting rows and act on them; workers step the environments until `receive`.

        Args:
            env_step: steps made so far.

        Returns:
            How many of the actions reach an environment.
        """
        assert self._rows is not None, "start or load_state_dict first"
        actions, self._state, record = self.agent.act(self._rows, self._state, "train", env_step)
        self.replay.add(self._replayed(self._rows, record))
        self.envs.send(to_env_actions(actions, self.envs.action_space))
        self._actions = actions
        return int((~self._rows["is_last"]).sum())

    def receive(self) -> Collected:
        """Wait for the rows that the actions led to."""
        try:
            self._rows = self.envs.receive()
        except EnvironmentFailed as failure:
            if failure.rows is None:
                raise
            self._rows, self.failure = failure.rows, failure
        steps = int((~self._rows["is_first"]).sum())
        return Collected(steps, self.envs.pop_episodes(), self._rows)

    def _replayed(self, rows: Rows, record: Mapping[str, np.ndarray]) -> Rows:
        """Rows as the replay holds them: with the action that led to them, and the reward under its name."""
        stored = {key: value for key, value in rows.items() if key != "reward"}
        stored[self.reward_name] = rows["reward"]
        stored["action"] = self._actions * ~rows["is_first"][:, None]
        if self.goals is not None:
            stored[EARNED] = self.goals.earn(stored.pop(DID), stored.pop(SCENE), rows["is_first"])
        return {**stored, **record}

    def state_dict(self) -> dict[str, Any]:
        """Environments, waiting rows and what acting remembers."""
        state = self._state
        saved: dict[str, Any] = {
            "envs": self.envs.state_dict(),
            "rows": dict(self._rows or {}),
            "actions": self._actions,
            "latent": state.latent._asdict(),
            "action": state.action,
            "generator": state.generator.get_state(),
        }
        if state.prior is not None:
            saved["prior"] = {**state.prior.latent._asdict(), "acting": state.prior.acting}
        if self.goals is not None:
            saved["goals"] = self.goals.state_dict()
        return saved

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.envs.load_state_dict(saved["envs"])
        self._rows = dict(saved["rows"])
        self._actions = saved["actions"]
        if self.goals is not None:
            self.goals.load_state_dict(saved["goals"])
        device = self.agent.device
        generator = torch.Generator(device)
        generator.set_state(saved["generator"])
        prior = None
        if "prior" in saved:
            teacher = saved["prior"]
            latent = Latent(teacher["deter"].to(device), teacher["stoch"].to(device))
            prior = PriorState(latent, teacher["acting"].to(device))
        latent = Latent(saved["latent"]["deter"].to(device), saved["latent"]["stoch"].to(device))
        self._state = ActState(latent, saved["action"].to(device), prior, generator)
