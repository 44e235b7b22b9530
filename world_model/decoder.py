"""Decoder: features to images, vectors, symbols and sets of objects, and the reconstruction losses."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import gymnasium
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from world_model.distributions import symexp, symlog
from world_model.encoder import MULTIPLIERS, init_conv_
from world_model.nets import MLP, BlockLinear, ChannelNorm, Linear, RMSNorm
from world_model.objects import RowsDecoder, existing, flat_widths
from world_model.sizes import ConvStyle, WorldModelConfig
from world_model.spaces import Objects, split_observations
from world_model.symbols import SymbolEntries, negative_log_likelihood

# Nearest upsampling puts the taps of a 5x5 kernel on 3x3 pixels of the small image, in four ways: which taps
# (columns) meet which pixel (rows), for output pixels of even and of odd index.
_EVEN = ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1))
_ODD = ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1))


@functools.cache
def _taps(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Both tables (2, 3, 5), made once: a copy to a GPU would be waited for."""
    return torch.tensor((_EVEN, _ODD), dtype=dtype, device=device)


def upsampled_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Nearest upsampling by 2, then a 5x5 convolution with padding 2, without the large image in between.

    Each of the four output pixels over one input pixel is a 3x3 convolution of the small image, whose kernel
    sums the taps that nearest upsampling would show the same pixel: 36 products for an input pixel, not 100.

    Args:
        x: (N, C, h, w).
        weight: (C', C, 5, 5).
        bias: (C',).

    Returns:
        (N, C', 2h, 2w), equal to the composed form up to rounding.
    """
    taps = _taps(weight.dtype, weight.device)
    phases = rearrange(
        torch.einsum("pak,qbl,oikl->pqoiab", taps, taps, weight), "p q o i a b -> (p q o) i a b"
    )
    x = F.conv2d(x, phases, bias.repeat(4), padding=1)
    x = rearrange(x, "n (p q o) h w -> n (h p) (w q) o", p=2, q=2)  # channels innermost, as it is in memory
    return rearrange(x, "n h w o -> n o h w")


class UpStage(nn.Module):
    """Double an image: nearest upsampling and 5x5 convolution, or 4x4 transposed convolution of stride 2."""

    def __init__(self, inputs: int, outputs: int, style: ConvStyle) -> None:
        super().__init__()
        self.pooled = style == "pooled"
        self.conv = (
            nn.Conv2d(inputs, outputs, 5, padding=2)
            if self.pooled
            else nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        )
        # Each output pixel of the transposed convolution sees a quarter of the kernel.
        init_conv_(self.conv, inputs * (25 if self.pooled else 4))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', 2h, 2w)."""
        assert self.conv.bias is not None
        return upsampled_convolution(x, self.conv.weight, self.conv.bias) if self.pooled else self.conv(x)


class ImageDecoder(nn.Module):
    """Features to the stacked channels of all images, as logits of values in [0, 1].

    The deterministic state enters the first map through a block-diagonal layer, the stochastic state through
    an MLP (DreamerV3, 2024 code).
    """

    def __init__(self, shape: tuple[int, int, int], config: WorldModelConfig) -> None:
        super().__init__()
        height, width, channels = shape
        depths = [config.depth * m for m in reversed(MULTIPLIERS[config.conv])]
        self.config = config
        self.grid = (height // 16, width // 16)
        first = self.grid[0] * self.grid[1] * depths[0]
        self.from_deter = BlockLinear(config.deter, first, config.blocks)
        hidden = 2 * config.units
        self.from_stoch = nn.Sequential(
            Linear(config.stoch * config.classes, hidden), RMSNorm(hidden), nn.SiLU(), Linear(hidden, first)
        )
        self.norm_in = ChannelNorm(depths[0])
        widths = [*depths, channels]
        self.stages = nn.ModuleList(
            UpStage(i, o, config.conv) for i, o in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(ChannelNorm(depth) for depth in depths[1:])

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, h, w, c)."""
        deter, stoch = features.split([self.config.deter, features.shape[-1] - self.config.deter], -1)
        # Channels innermost in memory, so that the convolutions run channels-last.
        x = self.from_stoch(stoch) + rearrange(
            self.from_deter(deter),
            "n (g h w c) -> n (h w g c)",
            g=self.config.blocks,
            h=self.grid[0],
            w=self.grid[1],
        )
        x = rearrange(x, "n (h w c) -> n c h w", h=self.grid[0], w=self.grid[1])
        x = F.silu(self.norm_in(x))
        for stage, norm in zip(self.stages[:-1], self.norms, strict=True):
            x = F.silu(norm(stage(x)))
        return rearrange(self.stages[-1](x).float(), "n c h w -> n h w c")


class Decoder(nn.Module):
    """Features to observations: the component `decoder`."""

    def __init__(self, space: gymnasium.spaces.Dict, config: WorldModelConfig) -> None:
        super().__init__()
        self.images, self.vectors, symbols, self.objects = split_observations(space)
        self.masks = {objects.mask: key for key, objects in self.objects.items() if objects.mask is not None}
        self.symbols = SymbolEntries(symbols)
        if self.images:
            height, width, _ = next(iter(self.images.values()))
            channels = sum(shape[2] for shape in self.images.values())
            self.convolutions = ImageDecoder((height, width, channels), config)
        graphs = config.objects.kind == "graph"
        self.rows = nn.ModuleDict(
            {key: RowsDecoder(objects, config) for key, objects in self.objects.items() if graphs}
        )
        self._widths = self.vectors | self.symbols.widths | ({} if graphs else flat_widths(self.objects))
        if self._widths:
            outputs = sum(self._widths.values())
            self.mlp = MLP(config.features, config.units, config.vector_layers, outputs=outputs)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Decode features (B, T, F), by key.

        Returns:
            Images (B, T, h, w, c) in [0, 1], vectors (B, T, d) and objects (B, T, n, d) in symlog units,
            log-probabilities (B, T, n, C) of symbols, and logits (B, T, n) of the objects' existence.
        """
        decoded: dict[str, Tensor] = {}
        if self.images:
            flat = self.convolutions(rearrange(features, "b t f -> (b t) f")).sigmoid()
            images = rearrange(flat, "(b t) h w c -> b t h w c", b=features.shape[0])
            parts = images.split([shape[2] for shape in self.images.values()], -1)
            decoded |= dict(zip(self.images, parts, strict=True))
        if self._widths:
            parts = self.mlp(features).float().split(list(self._widths.values()), -1)
            decoded |= dict(zip(self._widths, parts, strict=True))
        decoded |= {key: self.symbols[key].log_probs(decoded[key]) for key in self.symbols}
        for key, objects in self.objects.items():
            decoded |= self._rows(key, objects, features, decoded)
        return decoded

    def _rows(
        self, key: str, objects: Objects, features: Tensor, decoded: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Rows (B, T, n, d) of a set and, beside a mask, logits (B, T, n) of existence."""
        if key not in self.rows:
            return {key: decoded[key].unflatten(-1, (objects.rows, objects.width))}
        rows = self.rows[key](features).float()
        if objects.mask is None:
            return {key: rows}
        return {key: rows[..., :-1], objects.mask: rows[..., -1]}

    def loss(self, features: Tensor, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How far each observation is from its prediction, summed over its elements, (B, T) by key.

        The squared error of images, vectors and objects that exist; the negative log-likelihood of symbols
        and of each object's existence.
        """
        losses: dict[str, Tensor] = {}
        for key, prediction in self(features).items():
            if key in self.symbols:
                losses[key] = negative_log_likelihood(prediction, observations[key]).sum(-1)
            elif key in self.masks:
                exists = observations[key].to(prediction.dtype)
                losses[key] = F.binary_cross_entropy_with_logits(prediction, exists, reduction="none").sum(-1)
            else:
                error = self.difference(key, prediction, observations)
                losses[key] = error.square().flatten(2).sum(-1)
        return losses

    def difference(self, key: str, prediction: Tensor, observations: Mapping[str, Tensor]) -> Tensor:
        """`prediction` of an entry less its target, element by element; of what does not exist, 0."""
        if key in self.symbols:
            prediction = prediction.exp()
        elif key in self.masks:
            prediction = prediction.sigmoid()
        error = prediction - self.target(key, observations[key])
        if key not in self.objects:
            return error
        missing = existing(key, self.objects[key], observations) == 0
        return error.masked_fill(missing[..., None], 0.0)

    def target(self, key: str, observation: Tensor) -> Tensor:
        """What is predicted of `key`: pixels in [0, 1], symlog values, one-hot symbols, 1 for what exists."""
        if key in self.symbols:
            return self.symbols[key].one_hot(observation)
        if key in self.masks:
            return observation.float()
        return observation.float() / 255 if key in self.images else symlog(observation)

    def observed(self, key: str, prediction: Tensor) -> Tensor:
        """What `prediction` of an entry says would be observed, in the environment's own units."""
        if key in self.images:
            return (prediction * 255).round().to(torch.uint8)
        if key in self.symbols:
            return prediction.argmax(-1)
        return (prediction > 0).to(torch.uint8) if key in self.masks else symexp(prediction)
