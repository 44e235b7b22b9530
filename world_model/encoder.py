"""Observation encoder: images through convolutions, sets of objects as graphs, all else through an MLP."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from world_model.distributions import symlog
from world_model.nets import MLP, ChannelNorm, init_truncated_
from world_model.objects import GraphEntries, flat_rows, flat_widths
from world_model.sizes import ConvStyle, WorldModelConfig
from world_model.spaces import split_observations
from world_model.symbols import SymbolEntries

MULTIPLIERS: dict[ConvStyle, tuple[int, ...]] = {"pooled": (2, 3, 4, 4), "strided": (1, 2, 4, 8)}
"""Channels of the four stages over the base depth (DreamerV3's code of 2024, and of 2023); each stage halves
the image."""


def init_conv_(conv: nn.Conv2d | nn.ConvTranspose2d, fan_in: int) -> None:
    """DreamerV3's initialisation for a convolution."""
    init_truncated_(conv.weight, fan_in)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)


class DownStage(nn.Module):
    """Halve an image: 5x5 convolution and max-pooling, or 4x4 convolution of stride 2."""

    def __init__(self, inputs: int, outputs: int, style: ConvStyle) -> None:
        super().__init__()
        self.pooled = style == "pooled"
        self.conv = (
            nn.Conv2d(inputs, outputs, 5, padding=2)
            if self.pooled
            else nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        )
        init_conv_(self.conv, inputs * self.conv.kernel_size[0] ** 2)
        self.norm = ChannelNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h / 2, w / 2)."""
        x = self.conv(x)
        return F.silu(self.norm(F.max_pool2d(x, 2) if self.pooled else x))


class ImageEncoder(nn.Sequential):
    """Four stages of convolution; the channels of all images are stacked."""

    def __init__(self, channels: int, config: WorldModelConfig) -> None:
        widths = [channels, *(config.depth * m for m in MULTIPLIERS[config.conv])]
        super().__init__(*(DownStage(i, o, config.conv) for i, o in zip(widths, widths[1:], strict=False)))


class Encoder(nn.Module):
    """Observations to embeddings: the component `encoder`."""

    def __init__(self, space: gymnasium.spaces.Dict, config: WorldModelConfig) -> None:
        super().__init__()
        self.images, self.vectors, symbols, objects = split_observations(space)
        self.symbols = SymbolEntries(symbols)
        graphs = config.objects.kind == "graph"
        self.graphs = GraphEntries(objects if graphs else {}, config.objects, config.units)
        self.flat = {} if graphs else objects
        self.width = config.units * len(self.graphs)
        if self.images:
            height, width, _ = next(iter(self.images.values()))
            self.convolutions = ImageEncoder(sum(shape[2] for shape in self.images.values()), config)
            self.width += config.depth * MULTIPLIERS[config.conv][-1] * (height // 16) * (width // 16)
        numbers = sum((self.vectors | self.symbols.widths | flat_widths(self.flat)).values())
        if numbers:
            self.mlp = MLP(numbers, config.units, config.vector_layers)
            self.width += config.units

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Embed `observations`, each (B, T, ...), into (B, T, E)."""
        parts = []
        if self.images:
            images = torch.cat([observations[key] for key in self.images], -1)  # (B, T, h, w, c)
            batch = images.shape[:2]
            # A view in channels-last memory: no copy, and the faster convolutions.
            pixels = rearrange(images, "b t h w c -> (b t) c h w").float() / 255 - 0.5
            embedded = self.convolutions(pixels)
            parts.append(rearrange(embedded, "(b t) c h w -> b t (h w c)", b=batch[0]))
        numbers = [symlog(observations[key]) for key in self.vectors] + self.symbols.one_hot(observations)
        numbers += [symlog(x) for x in flat_rows(self.flat, observations).values()]
        if numbers:
            parts.append(self.mlp(torch.cat(numbers, -1)))
        parts += self.graphs.embed(observations)
        return torch.cat(parts, -1)
