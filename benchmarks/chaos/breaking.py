"""Damage to files by chance, as disks, copies and people do it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path


def flip(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Another bit somewhere."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def blank(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """A stretch of zeros, as after a power cut."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    path.write_bytes(data)


def cut(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """The end is missing, or all of it."""
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def append(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Something behind the end."""
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.randint(1, 64)))


def delete(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """It is gone."""
    path.unlink()


def swap(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """It and another have each other's content."""
    other = rng.choice([each for each in others if each != path])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


WAYS = (flip, flip, blank, cut, append, delete, swap)
"""A flipped bit is the hardest to see: it comes twice as often."""


def damaged(rng: random.Random, files: Sequence[Path]) -> str:
    """Damage one to three of `files`; returns what was done, in words."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        there = [path for path in files if path.exists() and path.stat().st_size]
        if len(there) < 2:
            break
        way, path = rng.choice(WAYS), rng.choice(there)
        way(path, rng, there)
        done.append(f"{way.__name__} {path.parent.name}/{path.name}")
    return ", ".join(done)
