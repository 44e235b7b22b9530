"""What a run observes and how it acts, on record with its checkpoints: equal widths are not equal meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from expedition import UserError
from expedition.pointing import Pointing
from world_model import action_factors, split_observations
from world_model.spaces import MASK

SPACES = "spaces"
"""Key in the metadata of a checkpoint."""
SYMBOLS = "symbols"
"""Stands where images and vectors have their dtype."""


def describe_spaces(observation: spaces.Dict, action: spaces.Space[Any]) -> dict[str, Any]:
    """Return both spaces as plain values, without what changes nothing that is learned.

    Observations keep their order, in which the encoder stacks them. Symbols have their numbers of values in
    the place of a shape, and factors that point tell at what: `MultiDiscrete(3, 5 of blocks)`. Left out are
    the bounds of vectors, which no network reads, and the number with which a Discrete or a factor begins. A
    Box of actions is always [-1, 1].
    """
    acts = f"Box({', '.join(map(str, action.shape or ()))})"
    if isinstance(action, Pointing):
        acts = str(action)
    elif isinstance(action, spaces.Discrete | spaces.MultiDiscrete):
        acts = f"{type(action).__name__}({', '.join(map(str, action_factors(action)))})"
    return {
        "observations": [[name, *_described(entry)] for name, entry in observation.items()],
        "actions": acts,
    }


def _described(entry: spaces.Space[Any]) -> tuple[str, list[int]]:
    if isinstance(entry, spaces.MultiDiscrete):
        return SYMBOLS, [int(size) for size in entry.nvec]
    return str(entry.dtype), list(entry.shape or ())


def described_spaces(described: Mapping[str, Any]) -> tuple[spaces.Dict, spaces.Space[Any]]:
    """Return observation and action space of what `describe_spaces` gave, with vectors unbounded.

    With them an agent is made where its environment is not installed.
    """
    observed = [(name, _space(kind, sizes)) for name, kind, sizes in described["observations"]]
    kind, _, told = described["actions"].removesuffix(")").partition("(")
    parts = [part.partition(" of ") for part in told.split(", ")]
    sizes, pointers = [int(size) for size, _, _ in parts], {i: p[2] for i, p in enumerate(parts) if p[2]}
    acts: spaces.Space[Any] = spaces.Discrete(sizes[0])
    if kind == "MultiDiscrete":
        acts = Pointing(sizes, pointers) if pointers else spaces.MultiDiscrete(sizes)
    elif kind == "Box":
        acts = spaces.Box(-1.0, 1.0, (sizes[0],), np.float32)
    return spaces.Dict(observed), acts


def any_number(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same without how many objects the sets hold, which graphs of them do not mind.

    The rows of sets, their masks, and the factors that point at them lose their number.
    """
    entries = described["observations"]
    sets = {name: sizes[0] for name, kind, sizes in entries if kind != SYMBOLS and len(sizes) == 2}
    masks = {name + MASK: [2] * count for name, count in sets.items()}

    def freed(name: str, kind: str, sizes: list[int]) -> list[Any]:
        if name in sets:
            return ["n", sizes[1]]
        return ["n"] if kind == SYMBOLS and masks.get(name) == sizes else sizes

    seen = [[name, kind, freed(name, kind, sizes)] for name, kind, sizes in entries]
    return {"observations": seen, "actions": re.sub(r"\d+ of ", "n of ", described["actions"])}


def _space(kind: str, sizes: list[int]) -> spaces.Space[Any]:
    if kind == SYMBOLS:
        return spaces.MultiDiscrete(sizes)
    if kind == "uint8":
        return spaces.Box(0, 255, tuple(sizes), np.uint8)
    return spaces.Box(-np.inf, np.inf, tuple(sizes), np.dtype(kind).type)


def observed_kinds(observation: spaces.Dict) -> list[str]:
    """Return the kinds of observations, each once: `image`, `vector`, `symbols`, `objects`."""
    kinds = zip(("image", "vector", SYMBOLS, "objects"), split_observations(observation), strict=True)
    return [kind for kind, entries in kinds if entries]


def told_observations(described: Mapping[str, Any]) -> str:
    """Return the observations as a sentence names them: `image (64, 64, 3) uint8, cells 49 symbols of 7`."""
    return ", ".join(_told(*entry) for entry in described["observations"])


def _told(name: str, kind: str, sizes: list[int]) -> str:
    if kind != SYMBOLS:
        return f"{name} {tuple(sizes)} {kind}"
    values = str(sizes[0]) if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
    return f"{name} {len(sizes)} {SYMBOLS if len(sizes) > 1 else 'symbol'} of {values}"


def check_unchanged(saved: Mapping[str, Any], env_id: str, now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run whose environment has other spaces than when its checkpoint was written.

    Args:
        saved: metadata of the checkpoint.
        env_id: id of the environment.
        now: its spaces today, as `describe_spaces` gives them.

    Raises:
        UserError: they differ.
    """
    before = saved.get(SPACES, now)
    if before == now:
        return
    if before["actions"] != now["actions"]:
        other, there, here = "acts", before["actions"], now["actions"]
    else:
        other, there, here = "observes", told_observations(before), told_observations(now)
    raise UserError(
        f"The environment '{env_id}' has changed since this run was saved: it {other} by {here}, not by "
        f"{there}; restore it, or start a new run."
    )
