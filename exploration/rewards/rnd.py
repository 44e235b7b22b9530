"""Random network distillation (Burda et al. 2018, arXiv 1810.12894)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import cast

import gymnasium
import torch
from einops import rearrange
from torch import Tensor, nn

from expedition.ranges import within
from exploration.base import IntrinsicReward, Sequences
from world_model import WorldModelConfig
from world_model.encoder import MULTIPLIERS, ImageEncoder
from world_model.nets import MLP, Linear
from world_model.objects import flat_rows, flat_widths
from world_model.spaces import split_observations
from world_model.symbols import SymbolEntries


@dataclasses.dataclass(frozen=True)
class RNDConfig:
    """Settings of the random network and its predictor."""

    outputs: int = 128
    """Width of the random features that are predicted."""
    clip: float = 5.0
    """Normalised observations are clipped to this many deviations."""
    depth: int = 0
    """Base channels of both networks; 0 takes the model's `depth`."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.rnd", "outputs", least=1)
        within(self, "agent.intrinsic.rnd", "clip", above=0)
        within(self, "agent.intrinsic.rnd", "depth", least=0)


class RunningMoments(nn.Module):
    """Mean and deviation of an observation's elements over everything seen so far.

    Count, mean and squared deviations are merged batch by batch (Chan et al. 1979).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.count: Tensor
        self.mean: Tensor
        self.square: Tensor
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("square", torch.zeros(shape))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Merge rows `x` (N, ...)."""
        rows, mean = float(len(x)), x.mean(0)
        total = self.count + rows
        shift = mean - self.mean
        self.square += (x - mean).square().sum(0) + shift.square() * self.count * rows / total
        self.mean += shift * rows / total
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (..., *shape)."""
        variance = self.square / self.count.clamp_min(1.0)
        return (x - self.mean) / variance.sqrt().clamp_min(1e-4)


class RandomFeatures(nn.Module):
    """Convolutions for images and an MLP for vectors and one-hot symbols, with a linear layer on top."""

    def __init__(self, space: gymnasium.spaces.Dict, config: WorldModelConfig, outputs: int) -> None:
        super().__init__()
        self.images, vectors, symbols, objects = split_observations(space)
        widths = {**vectors, **SymbolEntries(symbols).widths, **flat_widths(objects)}
        self.others = [*widths]
        width = 0
        if self.images:
            height, wide, _ = next(iter(self.images.values()))
            self.convolutions = ImageEncoder(sum(shape[2] for shape in self.images.values()), config)
            width += config.depth * MULTIPLIERS[config.conv][-1] * (height // 16) * (wide // 16)
        if self.others:
            self.mlp = MLP(sum(widths.values()), config.units, 2)
            width += config.units
        self.linear = Linear(width, outputs)

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Normalised observations, each (B, T, ...), to (B, T, outputs)."""
        parts = []
        if self.images:
            images = torch.cat([observations[key] for key in self.images], -1)  # (B, T, h, w, c)
            embedded = self.convolutions(rearrange(images, "b t h w c -> (b t) c h w"))
            parts.append(rearrange(embedded, "(b t) c h w -> b t (c h w)", b=len(images)))
        if self.others:
            parts.append(self.mlp(torch.cat([observations[key] for key in self.others], -1)))
        return self.linear(torch.cat(parts, -1))


class RND(IntrinsicReward):
    """Error of a learned network in predicting a fixed random one.

    The reward of a row is the mean squared error over the random features of its observation, which is
    normalised by running moments and clipped (section 2.4).
    """

    in_imagination = False

    def __init__(self, space: gymnasium.spaces.Dict, model: WorldModelConfig, config: RNDConfig) -> None:
        super().__init__()
        depth = config.depth or model.depth
        narrow = dataclasses.replace(model, depth=depth, conv="strided")
        self.clip = config.clip
        observed = split_observations(space)
        self.symbols, self.objects = SymbolEntries(observed.symbols), observed.objects
        widths = {**observed.vectors, **self.symbols.widths, **flat_widths(self.objects)}
        shapes = observed.images | {key: (d,) for key, d in widths.items()}
        self.moments = nn.ModuleDict({key: RunningMoments(shape) for key, shape in shapes.items()})
        self.target = RandomFeatures(space, narrow, config.outputs).requires_grad_(False)
        self.predictor = RandomFeatures(space, narrow, config.outputs)

    def _moments(self, key: str) -> RunningMoments:
        return cast(RunningMoments, self.moments[key])

    def _numbers(self, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images and vectors as floats, symbols as ones and zeros (..., n * C), objects in a row."""
        seen = {**observations, **flat_rows(self.objects, observations)}
        for key in self.symbols:
            seen[key] = self.symbols[key].one_hot(observations[key]).flatten(-2)
        return {key: seen[key].float() for key in self.moments}

    def normalise(self, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Observations by running moments, clipped to `clip` deviations."""
        return {
            key: self._moments(key)(numbers).clamp(-self.clip, self.clip)
            for key, numbers in self._numbers(observations).items()
        }

    def _error(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error (B, T)."""
        normalised = self.normalise(observations)
        error = self.predictor(normalised).float() - self.target(normalised).float()
        return error.square().mean(-1)

    def take_in(self, rows: Mapping[str, Tensor]) -> None:
        """Move the observations' moments."""
        for key, numbers in self._numbers(rows).items():
            self._moments(key).update(numbers.flatten(0, 1))

    def reward_of(self, x: Sequences) -> Tensor:
        """Prediction error of the rows' observations, (B, T)."""
        return self._error(x.rows)

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """The same error, which trains the predictor."""
        return {"rnd": self._error(x.rows)}
