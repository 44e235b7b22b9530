"""The sets of objects among the observations: which rows exist, as numbers in a row, and as graphs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from world_model.distributions import symlog
from world_model.objects.graph import Graph
from world_model.objects.places import PlacedMLP, place_codes
from world_model.sizes import ObjectsConfig, WorldModelConfig
from world_model.spaces import Objects


def existing(key: str, objects: Objects, observations: Mapping[str, Tensor]) -> Tensor:
    """Return 1 for each row of the set `key` (..., n) that exists and 0 for others; all do without a mask."""
    if objects.mask is None:
        return torch.ones_like(observations[key][..., 0])
    return observations[objects.mask].to(observations[key].dtype)


def known_rows(key: str, objects: Objects, observations: Mapping[str, Tensor]) -> Tensor:
    """Rows (..., n, d) of a set; zeros, without gradient, where there is no object."""
    missing = existing(key, objects, observations) == 0
    return observations[key].masked_fill(missing[..., None], 0.0)


def flat_widths(entries: Mapping[str, Objects]) -> dict[str, int]:
    """Widths of what `flat_rows` gives."""
    widths: dict[str, int] = {}
    for key, objects in entries.items():
        widths[key] = objects.rows * objects.width
        if objects.mask is not None:
            widths[objects.mask] = objects.rows
    return widths


def flat_rows(entries: Mapping[str, Objects], observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sets as vectors: the rows of each, flattened (..., n * d), and its mask (..., n) if it has one."""
    flat: dict[str, Tensor] = {}
    for key, objects in entries.items():
        flat[key] = known_rows(key, objects, observations).flatten(-2)
        if objects.mask is not None:
            flat[objects.mask] = existing(key, objects, observations)
    return flat


class GraphEntry(nn.Module):
    """One set, read as a graph.

    The latents are one vector of the whole scene, so what is to be predicted and pointed at by its row must
    be read with the number of its row: `numbered` objects carry the code of their place among their
    attributes.

    Args:
        objects: how many rows of which width.
        config: of graphs.
        outputs: width of the embedding.
    """

    codes: Tensor

    def __init__(self, objects: Objects, config: ObjectsConfig, outputs: int) -> None:
        super().__init__()
        codes = place_codes(objects.rows)
        self.register_buffer("codes", codes if config.numbered else torch.zeros_like(codes), persistent=False)
        self.graph = Graph(objects.width, config.units, config.messages, outputs)

    def forward(self, rows: Tensor, exists: Tensor) -> Tensor:
        """Embedding (..., outputs) of `rows` (..., n, d), of which `exists` (..., n) tells who is there."""
        return self.graph(symlog(rows), self.codes, exists)


class RowsDecoder(nn.Module):
    """Features to each row of a set in its order, with the same weights for any number of rows.

    The order is the environment's own and stable, so a prediction is compared with the row of its place and
    nothing has to be matched.

    Args:
        objects: how many rows of which width.
        config: widths of the model.
    """

    codes: Tensor

    def __init__(self, objects: Objects, config: WorldModelConfig) -> None:
        super().__init__()
        self.register_buffer("codes", place_codes(objects.rows), persistent=False)
        outputs = objects.width + (objects.mask is not None)
        self.rows = PlacedMLP(config.features, config.units, config.vector_layers, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., F) to rows (..., n, d), or (..., n, d + 1) with the logit of existence last."""
        return self.rows(features[..., None, :], self.codes)


class GraphEntries(nn.ModuleDict):
    """`GraphEntry` by the name of the set."""

    def __init__(self, entries: Mapping[str, Objects], config: ObjectsConfig, outputs: int) -> None:
        super().__init__({key: GraphEntry(objects, config, outputs) for key, objects in entries.items()})
        self.entries = dict(entries)

    def embed(self, observations: Mapping[str, Tensor]) -> list[Tensor]:
        """Embedding (..., outputs) of each set."""
        embedded = []
        for key, objects in self.entries.items():
            rows = known_rows(key, objects, observations)
            embedded.append(self[key](rows, existing(key, objects, observations)))
        return embedded
