"""What a section of chaos found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Short:
    """One try that did not end as it should."""

    again: str
    """How to have it again: a command line, or a seed and what was done."""
    why: str
    """What was wrong with its end."""


@dataclasses.dataclass(frozen=True)
class Section:
    """All tries of one kind."""

    name: str
    tried: int
    what: str
    """What was tried, in words."""
    short: tuple[Short, ...]
    found: Mapping[str, int]
    """How the tries ended: words and how often."""

    def lines(self) -> list[str]:
        """For a person: one line, and one for each try that fell short."""
        ends = ", ".join(f"{count} {word}" for word, count in self.found.items())
        head = f"{self.name:<13} {self.tried:>4} {self.what}; {len(self.short)} fell short ({ends})"
        return [head, *(f"{'':<13} {short.why}: {short.again}" for short in self.short)]


def counted(words: Sequence[str]) -> dict[str, int]:
    """How often each word stands among `words`."""
    return {word: words.count(word) for word in sorted(set(words))}
