"""Environments side by side, one row each a step, by the one rule of time (docs/shapes.md)."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.adapter import adapt
from envs.registry import make, missing_package
from expedition import UserError

logger = logging.getLogger(__name__)

Rows = dict[str, np.ndarray]
"""Observation keys, `reward` float32, `is_first`, `is_last` and `is_terminal` bool; each (N, ...)."""

_FORMAT = 1


class VectorEnv(Protocol):
    """N environments that are stepped together.

    Attributes:
        num_envs: N.
        observation_space: of one environment: a Dict of uint8 (h, w, 3) and float32 (d,) boxes.
        action_space: of one environment: Discrete, or a float32 Box (A,) in [-1, 1].
    """

    num_envs: int
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]

    def reset(self, seed: int) -> Rows:
        """Begin all environments anew and return their first rows."""
        ...

    def step(self, actions: np.ndarray) -> Rows:
        """Take actions, (N,) ints or (N, A) floats in [-1, 1], and return the rows they led to.

        The action of an environment whose last row had `is_last` is ignored; its row is the first of a new
        episode.
        """
        ...

    def pop_episodes(self) -> list[dict[str, Any]]:
        """Return and forget the summaries of the episodes that ended since the last call."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot: nested dicts whose leaves are numpy arrays and JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot."""
        ...

    def render(self, index: int) -> np.ndarray:
        """Return a picture of one environment, uint8 (h, w, 3)."""
        ...

    def close(self) -> None:
        """Free what the environments hold."""
        ...


@dataclass
class _Slot:
    """The present episode of one environment: enough to live it again."""

    episode: int = 0
    actions: list[Any] = field(default_factory=list)
    episode_return: float = 0.0
    ended: bool = False


class SerialVectorEnv:
    """Steps all environments in this process, one after the other; see `VectorEnv` for the interface.

    Each episode is reset with a seed made of (seed, environment, episode number), so it is a function of that
    and of its actions alone. A snapshot holds the actions of the running episodes: loading it lives them
    again, which is exact for every deterministic environment and costs at most one episode of steps each.
    """

    def __init__(
        self, source: str | Callable[[], gymnasium.Env[Any, Any]], num_envs: int, *, image_size: int = 64
    ) -> None:
        """Make the environments.

        Args:
            source: an id for `make`, or a function that returns one environment; its spaces are adapted.
            num_envs: how many, at least 1.
            image_size: height and width of pictures, in pixels.

        Raises:
            UserError: unknown id, missing package, unsupported spaces, or fewer than one environment.
        """
        if num_envs < 1:
            raise UserError(f"The number of environments must be at least 1, not {num_envs}.")
        self.num_envs = num_envs
        self._name = source if isinstance(source, str) else getattr(source, "__name__", "own")
        build = (lambda: make(source, image_size=image_size)) if isinstance(source, str) else source
        self.envs = tuple(adapt(build(), image_size) for _ in range(num_envs))
        self.observation_space: spaces.Dict = self.envs[0].observation_space  # type: ignore[assignment]
        self.action_space = self.envs[0].action_space
        self._discrete = isinstance(self.action_space, spaces.Discrete)
        self._action_shape = (num_envs, *(self.action_space.shape or ()))
        self._rows = self._allocate()
        self._slots: list[_Slot] | None = None
        self._seed = 0
        self._episodes: list[dict[str, Any]] = []

    def reset(self, seed: int) -> Rows:
        """Begin all environments anew with episode 0 of `seed` (0 or more) and return the first rows."""
        if seed < 0:
            raise UserError(f"The seed must be 0 or more, not {seed}.")
        self._seed = seed
        self._episodes = []
        self._slots = [_Slot() for _ in range(self.num_envs)]
        for index in range(self.num_envs):
            self._begin(index, episode=0)
        return self._copy()

    def step(self, actions: np.ndarray) -> Rows:
        """Act in each environment, or begin its next episode where the last row had `is_last`.

        Args:
            actions: (N,) ints, or (N, A) floats in [-1, 1].

        Raises:
            ValueError: the actions have another shape.
            RuntimeError: called before `reset`.
        """
        slots = self._running()
        if actions.shape != self._action_shape:
            raise ValueError(f"Actions must have the shape {self._action_shape}, not {actions.shape}.")
        moves = actions.tolist() if self._discrete else actions.astype(np.float32)  # a copy
        for index, slot in enumerate(slots):
            if slot.ended:
                self._begin(index, slot.episode + 1)
            else:
                self._advance(index, moves[index])
        return self._copy()

    def pop_episodes(self) -> list[dict[str, Any]]:
        """Return and forget the summaries of the episodes that ended since the last call, in order.

        Each has `env` (its number), `return`, `length` in steps, `terminal`, and the environment's own
        `info["episode_metrics"]` beside them.
        """
        episodes, self._episodes = self._episodes, []
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot: the running episodes' numbers and actions, and a hash of what was last seen."""
        return {
            "format": _FORMAT,
            "environment": self._name,
            "num_envs": self.num_envs,
            "seed": self._seed,
            "slots": {str(i): self._save(i, slot) for i, slot in enumerate(self._running())},
            "episodes": {str(i): dict(summary) for i, summary in enumerate(self._episodes)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot by living the running episodes again.

        The rows that follow equal those of a run that never stopped. Where an environment turns out not to
        repeat itself, a warning is logged, the interrupted episode counts as cut off, and the next step
        begins a new one.

        Raises:
            UserError: the snapshot is of another environment or another number of them.
        """
        ours = f"{self.num_envs} of environment '{self._name}' (format {_FORMAT})"
        theirs = "{num_envs} of environment '{environment}' (format {format})".format(**state)
        if ours != theirs:
            raise UserError(f"The snapshot is of {theirs}, not of {ours}: use its settings.")
        self._seed = int(state["seed"])
        self._slots = [_Slot() for _ in range(self.num_envs)]
        self._episodes = []
        for index in range(self.num_envs):
            self._load(index, state["slots"][str(index)])
        self._episodes[:0] = [dict(state["episodes"][str(i)]) for i in range(len(state["episodes"]))]

    def render(self, index: int) -> np.ndarray:
        """Return a picture of environment `index`, uint8 (h, w, 3).

        Raises:
            UserError: the environment draws no pictures, or lacks the package that does.
        """
        try:
            image = self.envs[index].render()
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            raise missing_package(self._name, error) from error
        if not isinstance(image, np.ndarray) or image.ndim != 3:
            raise UserError(
                f"Environment '{self._name}' draws no pictures: give it the render mode rgb_array."
            )
        return image.astype(np.uint8, copy=False)

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()

    def _allocate(self) -> Rows:
        rows = {
            key: np.zeros((self.num_envs, *box.shape), box.dtype)  # type: ignore[misc]  # boxes have a shape
            for key, box in self.observation_space.items()
        }
        rows["reward"] = np.zeros(self.num_envs, np.float32)
        return rows | {key: np.zeros(self.num_envs, bool) for key in ("is_first", "is_last", "is_terminal")}

    def _copy(self) -> Rows:
        return {key: value.copy() for key, value in self._rows.items()}

    def _running(self) -> list[_Slot]:
        if self._slots is None:
            raise RuntimeError("Call reset or load_state_dict first.")
        return self._slots

    def _begin(self, index: int, episode: int) -> None:
        """Reset one environment and write the first row of its episode."""
        self._running()[index] = _Slot(episode)
        words = np.random.SeedSequence([self._seed, index, episode]).generate_state(1)
        observation, _ = self.envs[index].reset(seed=int(words[0]) & 0x7FFFFFFF)
        self._write(index, observation, reward=0.0, first=True, last=False, terminal=False)

    def _advance(self, index: int, move: Any) -> None:
        """Step one environment, write its row, and sum the episode up if this was its end."""
        slot = self._running()[index]
        observation, reward, terminated, truncated, info = self.envs[index].step(move)
        slot.actions.append(move)
        slot.episode_return += float(reward)
        slot.ended = bool(terminated or truncated)
        self._write(
            index, observation, float(reward), first=False, last=slot.ended, terminal=bool(terminated)
        )
        if slot.ended:
            self._summarise(index, bool(terminated), info.get("episode_metrics", {}))

    def _write(
        self,
        index: int,
        observation: Mapping[str, Any],
        reward: float,
        *,
        first: bool,
        last: bool,
        terminal: bool,
    ) -> None:
        rows = self._rows
        for key in self.observation_space:
            rows[key][index] = observation[key]
        rows["reward"][index] = reward
        rows["is_first"][index] = first
        rows["is_last"][index] = last
        rows["is_terminal"][index] = terminal

    def _summarise(self, index: int, terminal: bool, metrics: Mapping[str, float]) -> None:
        slot = self._running()[index]
        summary = {
            "env": index,
            "return": slot.episode_return,
            "length": len(slot.actions),
            "terminal": terminal,
        }
        self._episodes.append(summary | {key: float(value) for key, value in metrics.items()})

    def _fingerprint(self, index: int) -> str:
        """Hash the last observation of one environment."""
        digest = hashlib.blake2b(digest_size=16)
        for key in self.observation_space:
            digest.update(self._rows[key][index].tobytes())
        return digest.hexdigest()

    def _save(self, index: int, slot: _Slot) -> dict[str, Any]:
        dtype = np.int64 if self._discrete else np.float32
        return {
            "episode": slot.episode,
            "actions": np.array(slot.actions, dtype).reshape(len(slot.actions), *self._action_shape[1:]),
            "return": slot.episode_return,
            "ended": slot.ended,
            "observation": self._fingerprint(index),
        }

    def _load(self, index: int, saved: Mapping[str, Any]) -> None:
        """Live one episode again, and give it up where it does not repeat itself."""
        summaries = len(self._episodes)
        self._begin(index, int(saved["episode"]))
        slot = self._running()[index]
        actions = np.asarray(saved["actions"])
        for move in actions.tolist() if self._discrete else actions.astype(np.float32):
            if slot.ended:
                break
            self._advance(index, move)
        del self._episodes[summaries:]  # its end, if it had one, was told before the snapshot
        same = slot.ended == saved["ended"] and len(slot.actions) == len(actions)
        if same and self._fingerprint(index) == saved["observation"]:
            return
        logger.warning(
            "Environment %d of '%s' does not repeat itself: its interrupted episode counts as cut off.",
            index,
            self._name,
        )
        slot.ended = True
        if not saved["ended"]:
            slot.actions, slot.episode_return = list(actions), float(saved["return"])
            self._summarise(index, terminal=False, metrics={})


def make_vector(env_id: str, num_envs: int, image_size: int = 64) -> VectorEnv:
    """Make `num_envs` environments by id (see `make`) behind one `VectorEnv`."""
    return SerialVectorEnv(env_id, num_envs, image_size=image_size)
