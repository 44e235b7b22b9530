"""Where samples come from: a generator, or noise that was drawn beforehand.

An update that takes its noise as tensors is a pure function of parameters, rows and noise: it can be batched
over seeds and compiled. The noise is what the generator would have given, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Kind = Literal["uniform", "normal"]


class Draw(NamedTuple):
    """One draw: uniform in [0, 1) or standard normal, and its shape."""

    kind: Kind
    shape: tuple[int, ...]


class NoiseSource(Protocol):
    """What stands in for a generator."""

    def draw(self, draw: Draw, device: torch.device) -> Tensor:
        """Return the noise that was asked for."""
        ...


Source = torch.Generator | NoiseSource
"""What every function that samples is given."""


def uniform(shape: Sequence[int], device: torch.device, source: Source) -> Tensor:
    """Uniform noise of `shape` in [0, 1)."""
    return _sample(Draw("uniform", tuple(shape)), device, source)


def normal(shape: Sequence[int], device: torch.device, source: Source) -> Tensor:
    """Standard normal noise of `shape`."""
    return _sample(Draw("normal", tuple(shape)), device, source)


def _sample(draw: Draw, device: torch.device, source: Source) -> Tensor:
    if not isinstance(source, torch.Generator):
        return source.draw(draw, device)
    make = torch.rand if draw.kind == "uniform" else torch.randn
    return make(draw.shape, device=device, generator=source)


class Recording:
    """Passes a generator's noise on and notes what was drawn, in `draws`."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.draws: list[Draw] = []

    def draw(self, draw: Draw, device: torch.device) -> Tensor:
        """Draw from the generator."""
        self.draws.append(draw)
        return _sample(draw, device, self.generator)


class DrawnNoise:
    """Hands out tensors that were drawn beforehand, in their order."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self.used = 0

    def draw(self, draw: Draw, device: torch.device) -> Tensor:
        """Return the next tensor."""
        tensor = self.tensors[self.used]
        assert tensor.shape == draw.shape, "the update draws other noise than the one that was recorded"
        self.used += 1
        return tensor


def draw_all(draws: Sequence[Draw], device: torch.device, generator: torch.Generator) -> list[Tensor]:
    """Draw beforehand what was recorded: the tensors that `generator` would have given one by one."""
    return [_sample(draw, device, generator) for draw in draws]
