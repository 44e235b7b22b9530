"""Flags of `expedition study` for the settings in its groups: `--finetune-agent.behaviour.entropy 3e-3`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from expedition import UserError
from experiments.settings import merged, nested

GROUPS = ("agent", "finetune_agent", "pretrain", "finetune")
"""Groups of a study's settings that flags can reach into; the same names as in its file."""


def grouped_flags(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take the flags of `GROUPS` out of a command line.

    A switch may be written as for a single run: `--agent.behaviour.center`, `--agent.behaviour.no-center`.

    Returns:
        The settings, nested, and the arguments that are left.

    Raises:
        UserError: a value that cannot be read.
    """
    found: dict[str, Any] = {}
    left: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        flag, equals, text = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or "." not in name or name.partition(".")[0] not in GROUPS:
            left.append(argument)
            continue
        if not equals and waiting and not waiting[0].startswith("--"):
            equals, text = "=", waiting.pop(0)
        found = merged(found, _switch(name) if not equals else nested(name, read_value(flag, text)))
    return found, left


def read_value(flag: str, text: str) -> Any:
    """The value that stands behind a flag: a number, a word, a list, true or false.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"The value of {flag} cannot be read: {text!r}; write a number or a word.") from error


def _switch(name: str) -> dict[str, Any]:
    groups, _, last = name.rpartition(".")
    return nested(f"{groups}.{last.removeprefix('no_')}", not last.startswith("no_"))
