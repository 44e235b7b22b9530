"""What settings have in common: which numbers they may have, and groups that came later than others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from expedition.errors import UserError

LARGEST = 2**31 - 1
"""No whole number may be larger, whatever it counts."""
LATER = "left out at its default"
"""Marks a field that `later` made."""


def later(default: Any) -> Any:
    """Return a field of settings that is left out of hashes and files where it has its default.

    So runs that were named before there was such a setting, and those that do not use it, keep their names.
    """
    return dataclasses.field(default=default, metadata={LATER: True})


def within(
    config: Any,
    group: str,
    names: str,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse settings that lie outside a range, are not finite, or are whole and above `LARGEST`.

    Args:
        config: what has the settings as attributes: numbers, or sequences of numbers.
        group: how a person reaches them, such as `agent.optimizer`; empty at the top.
        names: the settings, apart by blanks.
        least: smallest number that is allowed.
        most: largest number that is allowed.
        above: bound that itself is not allowed.
        below: bound that itself is not allowed.

    Raises:
        UserError: naming the first setting outside.
    """
    for name in names.split():
        value = getattr(config, name)
        for number in value if isinstance(value, Sequence) else (value,):
            if isinstance(number, int) and number > LARGEST:
                most = LARGEST if most is None else most
            inside = isinstance(number, int) or math.isfinite(number)  # no float holds every whole number
            inside &= least is None or number >= least
            inside &= most is None or number <= most
            inside &= above is None or number > above
            inside &= below is None or number < below
            if not inside:
                path = f"{group}.{name}" if group else name
                raise UserError(f"{path} is {number}: it must be {_told(least, most, above, below)}.")


def _told(least: float | None, most: float | None, above: float | None, below: float | None) -> str:
    parts = [(least, "of at least"), (above, "above"), (most, "at most"), (below, "below")]
    said = " and ".join(f"{word} {bound}" for bound, word in parts if bound is not None)
    return f"a number {said}" if said else "a finite number"
