"""Captions: the words that a suite has, and the wrapper that tells them as bits of a row."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

DID, SCENE = "caption/did", "caption/scene"
"""Names in a row, int64: bits into `Words.did` (what the action that led to it did) and `Words.scene`."""
MOST = 63


@dataclass(frozen=True)
class Words:
    """The words of an environment; none may be told twice.

    Attributes:
        did: what a step can have done, at most 63 phrases: "collect wood".
        scene: what can be told of a moment, at most 63, the first word says how it is known: "see tree",
            "have wood", "feel hungry".
        verbs, objects: the words of the interface; a goal is one of each, sense or nonsense.
        alone: verbs that take no object.
        achievements: those of `did` that the suite's own measures count. They leak the task.
    """

    did: tuple[str, ...]
    scene: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    alone: tuple[str, ...]
    achievements: tuple[str, ...]

    def __post_init__(self) -> None:
        for told in (self.did, self.scene):
            assert len(told) == len(set(told)) <= MOST, "a row has a bit for each phrase"
        assert set(self.achievements) <= set(self.did)


class Captioner(abc.ABC):
    """Tells of an environment, of which it changes nothing.

    Attributes:
        words: all that it can tell.
    """

    words: Words

    @abc.abstractmethod
    def look(self, env: Any) -> Any:
        """Take note of what a step could change; `env` is the unwrapped environment, before the step."""

    @abc.abstractmethod
    def did(self, env: Any, before: Any, action: Any) -> Iterable[str]:
        """Return what the step did, of `words.did`; `before` is what `look` gave."""

    @abc.abstractmethod
    def scene(self, env: Any) -> Iterable[str]:
        """Return what is there now, of `words.scene`."""


class Captioned(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Remembers as `told` the bits (did, scene) of the last row, and changes nothing."""

    def __init__(self, env: gymnasium.Env[Any, Any], captioner: Captioner) -> None:
        super().__init__(env)
        self._captioner = captioner
        self.told = (0, 0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode: nothing was done yet."""
        result = self.env.reset(seed=seed, options=options)
        self.told = (0, self._scene())
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act, and note what that did."""
        before = self._captioner.look(self.env.unwrapped)
        result = self.env.step(action)
        did = self._captioner.did(self.env.unwrapped, before, action)
        self.told = (bits(self._captioner.words.did, did), self._scene())
        return result

    def _scene(self) -> int:
        return bits(self._captioner.words.scene, self._captioner.scene(self.env.unwrapped))


def bits(names: Sequence[str], told: Iterable[str]) -> int:
    """Return a number whose bit i says whether `names[i]` was told."""
    return sum(1 << names.index(name) for name in set(told))


def not_captioned(task: str, options: Mapping[str, Any]) -> Captioner | None:
    """Return no captioner: for a suite that has no words."""
    return None
