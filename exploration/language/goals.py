"""The reward of ELLM (Du et al. 2023, arXiv 2302.06692): a caption comes near to a suggested goal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from exploration.language.embedder import Embedder


class Vocabulary(NamedTuple):
    """What an environment can say. `did`, `scene`: phrases by bit; `verbs` with `objects`, and those `alone`.

    `achievements` are those of `did` that the environment counts: for the oracle alone.
    """

    did: tuple[str, ...]
    scene: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    alone: tuple[str, ...]
    achievements: tuple[str, ...]


Suggestions = Callable[[str], tuple[str, ...]]
"""From a state in words to goals in words."""


def goal_reward(
    similar: np.ndarray, now: np.ndarray, done: np.ndarray, threshold: float
) -> tuple[float, int]:
    """Largest cosine of a caption of now with a goal that no earlier caption reached; 0 up to the threshold.

    Args:
        similar: cosines (C, G) of all captions with the goals suggested in the state before.
        now: which captions tell of the transition, bool (C,).
        done: which told of an earlier one of the episode, bool (C,).
        threshold: T of the paper.

    Returns:
        The reward, and the caption that earned it; -1 for none.
    """
    reached = (similar[done] > threshold).any(0)  # (G,)
    near = np.where(now[:, None] & ~reached, similar, -1.0).max(1, initial=-1.0)  # (C,)
    best = int(near.argmax())
    return (float(near[best]), best) if near[best] > threshold else (0.0, -1)


class GoalReward:
    """Rewards rows as they are collected, environment by environment.

    It is computed here and not on replayed rows because a replayed window does not know what its episode had
    reached before. Goals are asked for only where a step did something: elsewhere no goal could be reached.

    Args:
        words: what the environment can say.
        suggestions: who suggests goals.
        embed: of captions and goals.
        threshold: cosine above which a caption reaches a goal.
        num_envs: N.
    """

    def __init__(
        self, words: Vocabulary, suggestions: Suggestions, embed: Embedder, threshold: float, num_envs: int
    ) -> None:
        self.words, self.threshold = words, threshold
        self._suggestions, self._embed = suggestions, embed
        self._captions = embed(words.did)  # (C, E)
        self._similar: dict[tuple[str, ...], np.ndarray] = {}
        self._scene = np.zeros(num_envs, np.int64)
        self._done = np.zeros(num_envs, np.int64)
        self.told: Counter[str] = Counter()
        self.rewarded: Counter[str] = Counter()

    def earn(self, did: np.ndarray, scene: np.ndarray, is_first: np.ndarray) -> np.ndarray:
        """Rewards float32 (N,) of the next row of each environment; every row must pass here once, in order.

        Args:
            did: captions of what led to the row, bits of `words.did`, int64 (N,).
            scene: what is there, bits of `words.scene`, int64 (N,).
            is_first: whether an episode begins, bool (N,).
        """
        self._done[is_first] = 0
        rewards = np.zeros(len(did), np.float32)
        for i in np.flatnonzero(did * ~is_first):
            rewards[i] = self._earned(int(did[i]), int(self._scene[i]), int(self._done[i]))
        self._done |= did
        self._scene = scene.copy()
        return rewards

    def _earned(self, did: int, scene: int, done: int) -> float:
        now, before = (_flags(bits, len(self.words.did)) for bits in (did, done))
        self.told.update(_named(self.words.did, did))
        goals = self._suggestions(describe(_named(self.words.scene, scene)))
        if goals not in self._similar:
            self._similar[goals] = self._captions @ self._embed(goals).T
        reward, caption = goal_reward(self._similar[goals], now, before, self.threshold)
        if caption >= 0:
            self.rewarded[self.words.did[caption]] += 1
        return reward

    def metrics(self) -> dict[str, float]:
        """How often since the run began each caption was told and rewarded."""
        counts = (("told", self.told), ("rewarded", self.rewarded))
        return {f"language/{kind}/{name}": float(n) for kind, c in counts for name, n in sorted(c.items())}

    def state_dict(self) -> dict[str, Any]:
        """What the next reward depends on, and the counts."""
        return {
            "scene": self._scene.copy(),
            "done": self._done.copy(),
            "told": dict(self.told),
            "rewarded": dict(self.rewarded),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._scene, self._done = state["scene"].copy(), state["done"].copy()
        self.told, self.rewarded = Counter(state["told"]), Counter(state["rewarded"])


def describe(scene: Sequence[str]) -> str:
    """Say a state in sentences: "You see tree, cow. You feel hungry."."""
    by_verb: dict[str, list[str]] = {}
    for told in scene:
        verb, _, thing = told.partition(" ")
        by_verb.setdefault(verb, []).append(thing)
    return " ".join(f"You {verb} {', '.join(things)}." for verb, things in by_verb.items())


def _named(names: Sequence[str], bits: int) -> list[str]:
    return [name for i, name in enumerate(names) if bits >> i & 1]


def _flags(bits: int, count: int) -> np.ndarray:
    return np.array([bits >> i & 1 for i in range(count)], bool)
