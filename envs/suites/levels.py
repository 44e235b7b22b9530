"""What environments share that play levels by number: dice, drawn levels, `clone` and `restore`."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import gymnasium
import numpy as np

Observation = dict[str, np.ndarray]
State = Any
"""An environment's own NamedTuple, all that its future depends on, with the fields `level` (its number) and
`luck` (of the dice). It never changes, so a planner keeps as many as it likes at no cost."""
T = TypeVar("T")

END = 2**31
"""Levels are numbered from 0 to one below this."""
LARGE, DRAWN = 256, 128  # pixels a side of what `render` returns, and of drawn symbols
_WORD = 2**64 - 1


class Dice:
    """SplitMix64 (Steele et al. 2014): its whole state is one number, the same draws on every machine.

    Attributes:
        state: 64 bits, all that later draws depend on.
    """

    __slots__ = ("state",)

    def __init__(self, state: int) -> None:
        self.state = state & _WORD

    def bits(self) -> int:
        """Draw 64 bits."""
        self.state = z = (self.state + 0x9E3779B97F4A7C15) & _WORD
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """Draw a whole number from 0 to n - 1."""
        return self.bits() * n >> 64

    def chance(self, p: float) -> bool:
        """Draw True with probability `p`."""
        return self.bits() < p * 2.0**64

    def choice(self, items: Sequence[T]) -> T:
        """Draw one item."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """Draw `n` different items, in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(n)]


class Levelled(gymnasium.Env[Any, Any]):
    """An environment on levels by number, whose true simulator a planner can branch.

    A child sets `_levels`, the first level and how many there are, and draws the state in which an episode
    begins (`_begin`).
    """

    _levels: tuple[int, int]
    _state: State = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in a level drawn from the seed, which `info["level"]` names.

        Without a seed the dice of the episode before go on.
        """
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**63)) if self._state is None else self._state.luck
        dice = Dice(seed)
        first, count = self._levels
        self._state = self._begin(first + dice.below(count), dice)
        return self._observe(self._state), {"level": self._state.level}

    def clone(self) -> State:
        """Return the present state, all that the future depends on; it never changes.

        Raises:
            ResetNeeded: there was no reset yet.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset first: there is no level yet.")
        return self._state

    def restore(self, state: State, seed: int | None = None) -> None:
        """Go on from a state that `clone` gave, of this or of an equally made environment.

        Args:
            state: from `clone`.
            seed: of new dice, for a planner that must not know how the old ones fall.
        """
        self._state = state if seed is None else state._replace(luck=seed)

    @abstractmethod
    def _begin(self, level: int, dice: Dice) -> State: ...

    @abstractmethod
    def _observe(self, state: State) -> Observation: ...


def means(episodes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Return the mean of each metric over the episodes that have them, for `Suite.summarise`."""
    told = [episode for episode in episodes if names[0] in episode]
    return {name: sum(episode[name] for episode in told) / len(told) for name in names if told}
