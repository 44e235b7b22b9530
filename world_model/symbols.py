"""Discrete observations: one-hot to read, a categorical distribution to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn


class Symbols(nn.Module):
    """The symbols of one entry, each one of its own number of values.

    All are laid out for the largest number of values, C. Those that a symbol cannot take have probability 0.

    Args:
        sizes: how many values each of the n symbols has.
    """

    values: Tensor
    impossible: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.classes = max(sizes)
        self.width = len(sizes) * self.classes
        values = torch.arange(self.classes)
        self.register_buffer("values", values, persistent=False)  # (C,)
        self.register_buffer("impossible", values >= torch.tensor(sizes)[:, None], persistent=False)  # (n, C)

    def one_hot(self, symbols: Tensor) -> Tensor:
        """Integers (..., n) to ones and zeros (..., n, C)."""
        return (symbols[..., None] == self.values).float()

    def log_probs(self, logits: Tensor) -> Tensor:
        """Logits (..., n * C) to log-probabilities (..., n, C); minus infinity for impossible values."""
        logits = rearrange(logits.float(), "... (n c) -> ... n c", c=self.classes)
        return logits.masked_fill(self.impossible, -torch.inf).log_softmax(-1)


class SymbolEntries(nn.ModuleDict):
    """`Symbols` by the name of their entry."""

    def __init__(self, sizes: Mapping[str, Sequence[int]]) -> None:
        super().__init__({key: Symbols(each) for key, each in sizes.items()})
        self.widths = {key: self[key].width for key in sizes}

    def __getitem__(self, key: str) -> Symbols:
        return cast(Symbols, super().__getitem__(key))

    def one_hot(self, observations: Mapping[str, Tensor]) -> list[Tensor]:
        """Ones and zeros (..., n * C) of each entry."""
        return [self[key].one_hot(observations[key]).flatten(-2) for key in self]


def negative_log_likelihood(log_probs: Tensor, symbols: Tensor) -> Tensor:
    """Nats (..., n) of integers `symbols` (..., n) under `log_probs` (..., n, C)."""
    return -log_probs.gather(-1, symbols.long()[..., None]).squeeze(-1)
