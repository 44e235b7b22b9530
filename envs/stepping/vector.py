"""Environments side by side, one row each a step, by the one rule of time (docs/shapes.md)."""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.adapter import adapt
from envs.failures import EnvironmentFailed
from envs.registry import make, missing_package
from envs.stepping.lane import Lane, Rows, row_layout, task_rewards
from expedition import UserError

Source = str | Callable[[], gymnasium.Env[Any, Any]]
"""An id for `make`, or a function that returns one environment; its spaces are adapted."""

_FORMAT = 2


def build(source: Source, image_size: int, captions: bool = False) -> gymnasium.Env[Any, Any]:
    """Make one environment of the one shape."""
    if isinstance(source, str):
        return make(source, image_size=image_size, captions=captions)
    return adapt(source(), image_size)


def name_of(source: Source) -> str:
    """Return how messages and snapshots call a source."""
    return source if isinstance(source, str) else getattr(source, "__name__", "own")


class VectorEnv(abc.ABC):
    """N environments that are stepped together.

    Each episode is reset with a seed made of (seed, environment, episode number), so it is a function of that
    and of its actions alone, whoever steps it. A snapshot holds the actions of the running episodes: loading
    it lives them again, which is exact for every deterministic environment and costs at most one episode of
    steps each.

    Attributes:
        num_envs: N.
        observation_space: of one environment: a Dict of uint8 (h, w, 3) and float32 (d,) boxes.
        action_space: of one environment: Discrete, MultiDiscrete (n,) from 0, or a float32 Box (A,)
            in [-1, 1].
        task_rewards: other tasks, whose rewards stand in the rows as `task/<name>`.
        restarts: how many times a worker was replaced.
    """

    num_envs: int
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    task_rewards: tuple[str, ...] = ()
    restarts: int = 0

    def __init__(self, source: Source, num_envs: int) -> None:
        if num_envs < 1:
            raise UserError(f"The number of environments must be at least 1, not {num_envs}.")
        self.num_envs = num_envs
        self._name = name_of(source)
        self._seed: int | None = None
        self._episodes: list[dict[str, Any]] = []
        self._failure: EnvironmentFailed | None = None
        self._rows: Rows

    def reset(self, seed: int) -> Rows:
        """Begin all environments anew with episode 0 of `seed` (0 or more) and return the first rows."""
        if seed < 0:
            raise UserError(f"The seed must be 0 or more, not {seed}.")
        self._seed = seed
        self._begin(seed)
        self._episodes = []
        return self._copy()

    def step(self, actions: np.ndarray) -> Rows:
        """Take actions and return the rows they led to: `send`, then `receive`."""
        self.send(actions)
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        """Take actions; workers set out at once, so that the caller can do something else meanwhile.

        The action of an environment whose last row had `is_last` is ignored; its row is the first of a new
        episode. Nothing but `receive` and `close` may be called next.

        Args:
            actions: (N,) ints, (N, n) ints, or (N, A) floats in [-1, 1].

        Raises:
            ValueError: the actions have another shape.
            RuntimeError: called before `reset`.
        """
        self._need_seed()
        shape = (self.num_envs, *(self.action_space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"Actions must have the shape {shape}, not {actions.shape}.")
        self._send(actions.tolist() if actions.ndim == 1 else list(actions.astype(self.action_space.dtype)))

    def receive(self) -> Rows:
        """Return the rows that the actions sent have led to.

        Raises:
            EnvironmentFailed: an environment raised an error or gave what it did not promise. Its episode
                ends as cut off in the error's `rows`, from which one may go on.
        """
        self._episodes.extend(self._receive())
        failure, self._failure = self._failure, None
        if failure is None:
            return self._copy()
        failure.rows = self._copy()
        raise failure

    def pop_episodes(self) -> list[dict[str, Any]]:
        """Return and forget the summaries of the episodes that ended since the last call, in order.

        Each has `env` (its number), `return`, `length` in steps, `terminal`, and the environment's own
        `info["episode_metrics"]` beside them; one that a failure or a lost worker cut off has `crashed`.
        Where `info["reached"]` names what the episode reached, `reached` holds the names, sorted.
        """
        episodes, self._episodes = self._episodes, []
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot: nested dicts whose leaves are numpy arrays and JSON values."""
        return {
            "format": _FORMAT,
            "environment": self._name,
            "num_envs": self.num_envs,
            "seed": self._need_seed(),
            "slots": {str(i): saved for i, saved in enumerate(self._save())},
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
        lost = self._load(self._seed, [state["slots"][str(i)] for i in range(self.num_envs)])
        told = [dict(state["episodes"][str(i)]) for i in range(len(state["episodes"]))]
        self._episodes = [*told, *lost]

    @abc.abstractmethod
    def render(self, index: int) -> np.ndarray:
        """Return a picture of environment `index`, uint8 (h, w, 3).

        Raises:
            UserError: the environment draws no pictures, or lacks the package that does.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Free what the environments hold."""

    @abc.abstractmethod
    def _begin(self, seed: int) -> None:
        """Begin episode 0 everywhere."""

    @abc.abstractmethod
    def _send(self, moves: Sequence[Any]) -> None:
        """Take a move for each environment."""

    @abc.abstractmethod
    def _receive(self) -> Iterable[dict[str, Any]]:
        """Finish the step; return the summaries of episodes that ended, in the order of environments.

        A failure after which one can go on is noted as `_failure`.
        """

    @abc.abstractmethod
    def _save(self) -> list[dict[str, Any]]:
        """Return the snapshot of each environment."""

    @abc.abstractmethod
    def _load(self, seed: int, saved: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Load the snapshot of each; return the summaries of episodes that were given up."""

    def _copy(self) -> Rows:
        return {key: value.copy() for key, value in self._rows.items()}

    def _need_seed(self) -> int:
        if self._seed is None:
            raise RuntimeError("Call reset or load_state_dict first.")
        return self._seed


class SerialVectorEnv(VectorEnv):
    """Steps all environments in this process, one after the other.

    Args:
        source: an id for `make`, or a function that returns one environment.
        num_envs: how many, at least 1.
        image_size: height and width of pictures, in pixels.
        captions: tell in each row what happened, in words; of an id alone.

    Raises:
        UserError: unknown id, missing package, unsupported spaces, no captions, or no environment.
    """

    def __init__(
        self, source: Source, num_envs: int, *, image_size: int = 64, captions: bool = False
    ) -> None:
        super().__init__(source, num_envs)
        envs = [build(source, image_size, captions) for _ in range(num_envs)]
        self.observation_space = envs[0].observation_space  # type: ignore[assignment]
        self.action_space = envs[0].action_space
        self.task_rewards = task_rewards(envs[0])
        layout = row_layout(self.observation_space, self.task_rewards, captions)
        self._rows = {key: np.zeros((num_envs, *shape), dtype) for key, (shape, dtype) in layout.items()}
        self.lanes = [Lane(env, i, self._name, self._rows) for i, env in enumerate(envs)]
        self._moves: Sequence[Any] = ()

    def render(self, index: int) -> np.ndarray:
        """Return a picture of environment `index`, uint8 (h, w, 3)."""
        return draw(self.lanes[index].env, self._name)

    def close(self) -> None:
        """Close every environment."""
        for lane in self.lanes:
            lane.close()

    def _begin(self, seed: int) -> None:
        for lane in self.lanes:
            lane.begin(seed)

    def _send(self, moves: Sequence[Any]) -> None:
        self._moves = moves

    def _receive(self) -> list[dict[str, Any]]:
        for lane, move in zip(self.lanes, self._moves, strict=True):
            try:
                lane.step(move)
            except EnvironmentFailed as failure:
                lane.give_up()
                self._failure = self._failure or failure
        return self._told()

    def _save(self) -> list[dict[str, Any]]:
        return [lane.save() for lane in self.lanes]

    def _load(self, seed: int, saved: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        for lane, slot in zip(self.lanes, saved, strict=True):
            lane.load(seed, slot)
        return self._told()

    def _told(self) -> list[dict[str, Any]]:
        return [told for lane in self.lanes for told in lane.pop_episodes()]


def draw(env: gymnasium.Env[Any, Any], name: str) -> np.ndarray:
    """Return a picture of `env`, uint8 (h, w, 3).

    Raises:
        UserError: it draws no pictures, or lacks the package that does.
    """
    try:
        image = env.render()
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise missing_package(name, error) from error
    except NotImplementedError:  # gymnasium's own `render`
        image = None
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        raise UserError(f"Environment '{name}' draws no pictures: give it the render mode rgb_array.")
    return image.astype(np.uint8, copy=False)
