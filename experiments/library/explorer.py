"""A trained agent in a program: it acts, watches others act, and dreams."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents import ActState, Agent, DreamerAgent, make_agent
from agents.distributions import policy_noise
from envs import adapt, environment_info, make
from expedition import UserError
from training import Checkpoint, RunConfig, open_checkpoint, read_config
from training.process.runtime import choose_device
from training.spaces import SPACES, describe_spaces, described_spaces, told_observations
from training.storage.hub import located
from world_model import Filter, WorldModel, to_env_actions, to_learner_actions
from world_model.decoder import Decoder

Observation = Mapping[str, np.ndarray]
"""One observation, entries by name, as `Explorer.env` shows it."""


@dataclasses.dataclass(frozen=True)
class Dream:
    """What a model imagined: H steps after row 0, where it began.

    Attributes:
        features: of the latents, float32 (H + 1, F).
        actions: those that led to the rows, float32 (H + 1, A): one-hot, or in [-1, 1]; zeros in row 0.
        rewards: expected in the rows, float32 (H + 1,): after phase 1 the intrinsic ones, scaled.
        continues: probabilities that the episode goes on, times the discount, float32 (H + 1,).
        observations: decoded entries (H + 1, ...) by name in the environment's units; empty where the model
            has no decoder.
    """

    features: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    continues: np.ndarray
    observations: dict[str, np.ndarray]


class Explorer:
    """The agent of a run, in one environment at a time, with the memory of its episode.

    Attributes:
        config: settings of the run.
        step: environment steps that it had made.
        agent: the agent whole, which also acts in many environments at once (`Agent.act`).
    """

    def __init__(self, config: RunConfig, agent: Agent, step: int) -> None:
        self.config, self.agent, self.step = config, agent, step
        self._first = True
        self._state: ActState
        self.reset(config.seed)

    @property
    def model(self) -> Filter:
        """The world model, a torch module; a model-free agent's ends with its filter."""
        return self.agent.world_model

    def env(self, other: str | gymnasium.Env[Any, Any] | None = None) -> gymnasium.Env[Any, Any]:
        """Make the environment that was explored, or bring another to the same shape.

        Args:
            other: an id, or an environment.

        Returns:
            Observations are a Dict of images (h, w, 3), vectors (d,) and symbols (n,); actions are Discrete,
            MultiDiscrete, or a Box in [-1, 1].

        Raises:
            UserError: no such environment, or one of other observations or actions.
        """
        size, source = self.config.training.image_size, self.config.env if other is None else other
        env = make(source, image_size=size) if isinstance(source, str) else adapt(source, size)
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        learned = describe_spaces(self.agent.observation_space, self.agent.action_space)
        here = describe_spaces(env.observation_space, env.action_space)
        if learned != here:
            name = source if isinstance(source, str) else type(source.unwrapped).__name__
            raise UserError(
                f"'{name}' observes {told_observations(here)} and acts by {here['actions']}, and this agent "
                f"learned of {told_observations(learned)} and {learned['actions']}: choose one that agrees."
            )
        return env

    def reset(self, seed: int | None = None) -> None:
        """Forget the episode: the next observation is the first of another.

        Args:
            seed: of all samples from here on; None goes on with those at hand.
        """
        generator = None if seed is None else torch.Generator(self.agent.device).manual_seed(seed)
        began = self.agent.initial_state(1, 0)
        self._state = began._replace(generator=generator or self._state.generator)
        self._first = True

    def act(self, observation: Observation) -> Any:
        """Take an observation in, to which the last action led, and choose the next action.

        Returns:
            An action for `env`: an int, an int for each factor (n,), or float32 (A,).

        Raises:
            UserError: the observation is not one of `env`.
        """
        actions, self._state, _ = self.agent.act(self._row(observation), self._state, "evaluate")
        self._first = False
        return to_env_actions(actions, self.agent.action_space)[0]

    @torch.no_grad()
    def see(self, observation: Observation, action: Any = None) -> np.ndarray:
        """Take an observation in, and return what the model makes of the episode so far.

        Args:
            observation: as `env` shows it.
            action: the one that led to it, as `env` takes it; None begins an episode.

        Returns:
            Features, float32 (F,).

        Raises:
            UserError: the observation is not one of `env`.
        """
        if action is None:
            self.reset()
        rows, state, device = self._row(observation), self._state, self.agent.device
        led = state.action if action is None else self._learned(action)
        batch = {key: torch.as_tensor(value, device=device)[:, None] for key, value in rows.items()}
        noise = torch.rand(1, 1, self.model.config.stoch, device=device, generator=state.generator)
        latents, _, _ = self.model.observe({**batch, "action": led[:, None]}, state.latent, noise)
        self._state = state._replace(latent=latents.map(lambda x: x[:, 0]), action=led)
        self._first = False
        return self._state.latent.features[0].float().cpu().numpy()

    @torch.no_grad()
    def dream(self, steps: int) -> Dream:
        """Imagine the policy's next steps from what was seen last; memory stays as it is.

        Args:
            steps: H, at least 1.

        Raises:
            UserError: nothing was seen yet, or the agent is model-free.
        """
        if steps < 1:
            raise UserError(f"A dream has at least 1 step, not {steps}.")
        if not isinstance(self.agent, DreamerAgent):
            raise UserError("A model-free agent cannot dream: load a run of a model-based one.")
        if self._first:
            raise UserError("Nothing was seen yet that a dream could begin with: call act or see first.")
        latent, source, device = self._state.latent, self._state.generator, self.agent.device
        choices = policy_noise(self.agent.action_space, (steps, 1), source)
        noise = torch.rand(steps, 1, self.model.config.stoch, device=device, generator=source)
        latents, actions, rewards, continues = self.agent.dream(latent, choices, noise)
        return Dream(
            features=_array(latents.features),
            actions=_array(actions),
            rewards=_array(rewards),
            continues=_array(continues),
            observations=_decoded(self.agent.world_model, latents.features),
        )

    def pictures(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draw observations.

        Args:
            observations: entries (T, ...) by name, such as a dream's.

        Returns:
            uint8 (T, h, w, 3): the first image, or what the environment draws from the other entries.

        Raises:
            UserError: there is nothing to draw.
        """
        images = [value for value in observations.values() if value.dtype == np.uint8 and value.ndim == 4]
        if images:
            return images[0]
        draw = environment_info(self.config.env).draw if observations else None
        if draw is None:
            raise UserError(f"There is nothing to draw in these observations of '{self.config.env}'.")
        count = len(next(iter(observations.values())))
        return np.stack([draw({key: value[t] for key, value in observations.items()}) for t in range(count)])

    def _row(self, observation: Observation) -> dict[str, np.ndarray]:
        """One row (1, ...) of one environment."""
        keys = list(self.agent.observation_space)
        if not isinstance(observation, Mapping) or not set(keys) <= set(observation):
            raise UserError(
                f"An observation must be a dict of {', '.join(keys)}: act in `explorer.env()`, or bring an "
                "environment of your own to that shape with `explorer.env(yours)`."
            )
        return {
            **{key: np.asarray(observation[key])[None] for key in keys},
            "is_first": np.array([self._first]),
        }

    def _learned(self, action: Any) -> Tensor:
        """An action of the environment as the learner sees it, (1, A)."""
        actions = to_learner_actions(np.asarray(action)[None], self.agent.action_space)
        return torch.as_tensor(actions, device=self.agent.device).clamp(-1, 1)


def load(source: str | Path, device: str = "auto") -> Explorer:
    """Load the agent of a run from its newest checkpoint.

    Its environment need not be installed.

    Args:
        source: folder of a run, or one that `expedition export` has written, or one on the Hugging Face hub,
            `hf:OWNER/NAME` with `@REVISION` where that is not main.
        device: auto, cpu or cuda.

    Raises:
        UserError: no run there, or one without an agent of ours (PPO, the random policy).
    """
    folder = located(source)
    config, checkpoint = read_config(folder), open_checkpoint(folder)
    if config.agent.kind not in ("model-based", "model-free"):
        raise UserError(f"{folder} is a run of '{config.agent.kind}', not of an agent that can be loaded.")
    return Explorer(config, _agent(config, checkpoint, choose_device(device)), checkpoint.step)


def _agent(config: RunConfig, checkpoint: Checkpoint, device: torch.device) -> Agent:
    """The agent as it was when the checkpoint was written."""
    if SPACES not in checkpoint.metadata:
        raise UserError(f"{checkpoint.path} is of an older version and tells no spaces: make the run again.")
    observed, acts = described_spaces(checkpoint.metadata[SPACES])
    agent = make_agent(observed, acts, config.agent, config.intrinsic, config.seed, device)
    for name, module in agent.components().items():
        module.load_state_dict(checkpoint.load(name))
    return agent


def _decoded(model: WorldModel, features: Tensor) -> dict[str, np.ndarray]:
    """Observations (H + 1, ...) by name, decoded from features (1, H + 1, F) into the environment's units."""
    decoder = model.decoder
    if not isinstance(decoder, Decoder):
        return {}
    return {
        key: decoder.observed(key, prediction)[0].cpu().numpy()
        for key, prediction in decoder(features).items()
    }


def _array(x: Tensor) -> np.ndarray:
    """(1, H + 1, ...) -> float32 (H + 1, ...)."""
    return x[0].float().cpu().numpy()
