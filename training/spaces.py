"""What a run observes and how it acts, on record with its checkpoints: equal widths are not equal meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from expedition import UserError

SPACES = "spaces"
"""Key in the metadata of a checkpoint."""


def describe_spaces(observation: spaces.Dict, action: spaces.Space[Any]) -> dict[str, Any]:
    """Return both spaces as plain values, without what changes nothing that is learned.

    Observations keep their order, in which the encoder stacks them. Left out are the bounds of vectors, which
    no network reads, and the number with which a Discrete begins. A Box of actions is always [-1, 1].
    """
    acts = f"Box({', '.join(map(str, action.shape or ()))})"
    if isinstance(action, spaces.Discrete):
        acts = f"Discrete({action.n})"
    seen = [[name, str(box.dtype), list(box.shape or ())] for name, box in observation.spaces.items()]
    return {"observations": seen, "actions": acts}


def observed_kinds(observation: spaces.Dict) -> list[str]:
    """Return the kinds of observations, each once: `image` for pictures (uint8), `vector` for the others."""
    kinds = ("image" if box.dtype == np.uint8 else "vector" for box in observation.spaces.values())
    return list(dict.fromkeys(kinds))


def told_observations(described: Mapping[str, Any]) -> str:
    """Return the observations as a sentence names them: `image (64, 64, 3) uint8, vector (4,) float32`."""
    return ", ".join(f"{name} {tuple(shape)} {dtype}" for name, dtype, shape in described["observations"])


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
