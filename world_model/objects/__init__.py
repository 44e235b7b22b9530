"""Observations that are sets of objects: graphs of them to read, rows of them to predict and to point at."""

from world_model.objects.actions import PointedActions, pointed_actions, pointed_factors
from world_model.objects.entries import (
    GraphEntries,
    RowsDecoder,
    existing,
    flat_rows,
    flat_widths,
    known_rows,
)
from world_model.objects.graph import Graph
from world_model.objects.places import PlacedMLP, place_codes

__all__ = [
    "Graph",
    "GraphEntries",
    "PlacedMLP",
    "PointedActions",
    "RowsDecoder",
    "existing",
    "flat_rows",
    "flat_widths",
    "known_rows",
    "place_codes",
    "pointed_actions",
    "pointed_factors",
]
