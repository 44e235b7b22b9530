"""One environment among several: its running episode, its row, its snapshot."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.captions import DID, SCENE
from envs.failures import EnvironmentFailed, Misfit, explain, is_told, number, reset_result, step_result
from envs.fit import entry, row_fit

logger = logging.getLogger(__name__)

Rows = dict[str, np.ndarray]
"""Observation keys, `reward` float32, `is_first`, `is_last`, `is_terminal` bool, `task/<name>` float32; where
captions were asked for, `caption/did` and `caption/scene` int64."""

TASK = "task/"
"""Names under this prefix are recorded, and never shown to a learner."""
FLAGS = ("is_first", "is_last", "is_terminal")
REACHED = "reached"
"""Where the last step's `info`, and then the episode's summary, name what the episode reached."""


def task_rewards(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    """Return the names of the other tasks whose rewards `env` tells in `info["task_rewards"]`."""
    return tuple(env.get_wrapper_attr("task_rewards")) if env.has_wrapper_attr("task_rewards") else ()


def row_layout(
    space: spaces.Dict, tasks: tuple[str, ...], captions: bool = False
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and dtype of everything in one row."""
    layout = {key: (box.shape or (), np.dtype(box.dtype)) for key, box in space.items()}
    layout |= {name: ((), np.dtype(np.float32)) for name in ("reward", *(TASK + task for task in tasks))}
    layout |= {name: ((), np.dtype(np.int64)) for name in (DID, SCENE) if captions}
    return layout | {flag: ((), np.dtype(bool)) for flag in FLAGS}


def episode_seed(seed: int, index: int, episode: int) -> int:
    """Return the seed of one episode of one environment, 31 bits."""
    words = np.random.SeedSequence([seed, index, episode]).generate_state(1)
    return int(words[0]) & 0x7FFFFFFF


def summary(
    index: int,
    total: float,
    length: int,
    terminal: bool,
    metrics: Mapping[str, float] | None = None,
    reached: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Return what is told of an episode that ended."""
    told: dict[str, Any] = {"env": index, "return": total, "length": length, "terminal": terminal}
    told |= {key: float(value) for key, value in (metrics or {}).items()}
    return told if reached is None else told | {REACHED: sorted(set(reached))}


class Lane:
    """Steps one environment and writes its rows.

    Each episode is reset with a seed made of (seed, environment, episode number), so it is a function of that
    and of its actions alone: a snapshot holds only the actions of the running episode.

    Args:
        env: what is stepped.
        index: its number among all.
        name: how messages call it.
        rows: arrays (N, ...) of which it writes `rows[key][index]`.
        spare: a second, equal environment in which the next episode may be begun ahead of time.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        index: int,
        name: str,
        rows: Rows,
        spare: gymnasium.Env[Any, Any] | None = None,
    ) -> None:
        self.env = env
        self.ended = False
        self.episodes: list[dict[str, Any]] = []
        self._index, self._name, self._rows = index, name, rows
        entries = env.observation_space.items()  # type: ignore[attr-defined]
        self._fits = [(key, row_fit(entry, key)) for key, entry in entries]
        self._tasks = [(task, rows[TASK + task]) for task in task_rewards(env)]
        self._spare = spare
        self._ready: tuple[int, int, Mapping[str, Any]] | None = None
        self._seed = self._episode = 0
        self._actions: list[Any] = []
        self._return = 0.0
        self._begun = False

    def begin(self, seed: int, episode: int = 0) -> None:
        """Begin an episode and write its first row.

        Raises:
            EnvironmentFailed: the environment raised an error, or gave what it did not promise.
        """
        self._seed, self._episode, self._begun = seed, episode, False
        self._actions, self._return, self.ended = [], 0.0, False
        try:
            seen = self._look(self._first_observation())
        except Exception as error:  # noqa: BLE001  # whatever a user's class raises is told in a sentence
            if is_told(error):
                raise
            raise explain(error, self._where()) from error
        self._begun = True
        self._write(seen, 0.0, [0.0] * len(self._tasks), first=True)

    def step(self, move: Any) -> None:
        """Act, or begin the next episode where the last row had `is_last`.

        Raises:
            EnvironmentFailed: as `begin`; `give_up` is next.
        """
        if self.ended:
            self.begin(self._seed, self._episode + 1)
        else:
            self._advance(move)

    def prepare(self) -> bool:
        """Begin the next episode in the spare environment; say whether there was anything to do."""
        if self._spare is None or self._ready is not None:
            return False
        episode = self._episode + 1
        result = self._spare.reset(seed=episode_seed(self._seed, self._index, episode))
        self._ready = (self._seed, episode, reset_result(result)[0])
        return True

    def give_up(self) -> None:
        """Cut off an episode whose step failed at what was seen last; begin another if its reset failed."""
        if not self._begun:
            self.begin(self._seed, self._episode + 1)
            return
        self.ended = True
        self._write([], 0.0, [0.0] * len(self._tasks), last=True)
        length = len(self._actions) + 1
        self.episodes.append(summary(self._index, self._return, length, False, {"crashed": 1.0}))

    def pop_episodes(self) -> list[dict[str, Any]]:
        """Return and forget the summaries of the episodes that ended."""
        episodes, self.episodes = self.episodes, []
        return episodes

    def save(self) -> dict[str, Any]:
        """Return the episode's number and, if it goes on, its actions and a hash of what was last seen."""
        saved = {"episode": self._episode, "ended": self.ended}
        if self.ended:
            return saved
        space = self.env.action_space
        actions = np.array(self._actions, np.float32 if isinstance(space, spaces.Box) else np.int64)
        actions = actions.reshape(len(self._actions), *(space.shape or ()))
        return saved | {"actions": actions, "return": self._return, "observation": self._fingerprint()}

    def load(self, seed: int, saved: Mapping[str, Any]) -> None:
        """Live a running episode again, and give it up where it does not repeat itself."""
        if saved["ended"]:
            self.lose(seed, int(saved["episode"]))
            return
        told = len(self.episodes)
        actions = np.asarray(saved["actions"])
        alike = self._live_again(seed, int(saved["episode"]), actions)
        del self.episodes[told:]
        if alike and self._fingerprint() == saved["observation"]:
            return
        logger.warning(
            "Environment %d of '%s' does not repeat itself: its interrupted episode counts as cut off.",
            self._index,
            self._name,
        )
        self.ended = True
        self.episodes.append(summary(self._index, float(saved["return"]), len(actions), False))

    def lose(self, seed: int, episode: int) -> None:
        """Take an episode as ended; the next step begins the one after it."""
        self._seed, self._episode, self._actions, self.ended = seed, episode, [], True

    def close(self) -> None:
        """Close the environment and its spare; one that cannot be closed is left with a warning."""
        for env in (self.env, self._spare):
            try:
                if env is not None:
                    env.close()
            except Exception as error:  # noqa: BLE001  # it must not hide why things are being closed
                logger.warning("Environment %d of '%s' does not close: %r.", self._index, self._name, error)

    def _live_again(self, seed: int, episode: int, actions: np.ndarray) -> bool:
        """Play an episode's actions; say whether it got through them."""
        try:
            self.begin(seed, episode)
            for move in actions.tolist() if actions.ndim == 1 else actions:
                if self.ended:
                    break
                self._advance(move)
        except EnvironmentFailed as failure:
            logger.warning("%s", failure)
            return False
        return not self.ended

    def _where(self) -> str:
        step = len(self._actions) + int(self._begun)
        return f"Environment {self._index} of '{self._name}', episode {self._episode}, step {step}"

    def _first_observation(self) -> Mapping[str, Any]:
        ready, self._ready = self._ready, None
        if ready is not None and ready[:2] == (self._seed, self._episode):
            assert self._spare is not None
            self.env, self._spare = self._spare, self.env
            return ready[2]
        result = self.env.reset(seed=episode_seed(self._seed, self._index, self._episode))
        return reset_result(result)[0]

    def _advance(self, move: Any) -> None:
        try:
            observation, reward, terminated, truncated, info = step_result(self.env.step(move))
            seen, reward = self._look(observation), number(reward)
            terminal, ended = bool(terminated), bool(terminated or truncated)
            others = self._other_rewards(info) if self._tasks else []
            told = (info.get("episode_metrics"), info.get(REACHED)) if ended else None
            total, length = self._return + reward, len(self._actions) + 1
            if told is not None:
                self.episodes.append(summary(self._index, total, length, terminal, *told))
        except Exception as error:  # noqa: BLE001  # whatever a user's class raises is told in a sentence
            if is_told(error):
                raise
            raise explain(error, self._where()) from error
        self._actions.append(move)
        self._return, self.ended = total, ended
        self._write(seen, reward, others, last=ended, terminal=terminal)

    def _look(self, observation: Any) -> list[np.ndarray]:
        """Return what will stand in the row; nothing is written before all of it fits."""
        return [fits(entry(observation, key)) for key, fits in self._fits]

    def _other_rewards(self, info: Mapping[str, Any]) -> list[float]:
        told = info.get("task_rewards", {})
        for task, _ in self._tasks:
            if task not in told:
                raise Misfit(f"info['task_rewards'] lacks '{task}'; tell every name in its task_rewards.")
        return [number(told[task], f"the reward of the task '{task}'") for task, _ in self._tasks]

    def _write(
        self,
        seen: list[np.ndarray],
        reward: float,
        others: list[float],
        *,
        first: bool = False,
        last: bool = False,
        terminal: bool = False,
    ) -> None:
        rows, at = self._rows, self._index
        if seen:  # else what was seen last stands there still
            for (key, _), value in zip(self._fits, seen, strict=True):
                rows[key][at] = value
        rows["reward"][at] = reward
        for (_, column), other in zip(self._tasks, others, strict=True):
            column[at] = other
        if DID in rows:  # of a step that failed nobody can tell
            rows[DID][at], rows[SCENE][at] = self.env.get_wrapper_attr("told") if seen else (0, 0)
        rows["is_first"][at] = first
        rows["is_last"][at] = last
        rows["is_terminal"][at] = terminal

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for key, _ in self._fits:
            digest.update(self._rows[key][self._index].tobytes())
        return digest.hexdigest()
