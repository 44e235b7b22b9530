"""What the check found, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH = 110


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one line."""

    name: str
    verdict: str
    """passed, failed or not run."""
    seconds: float = 0.0
    why: str = ""
    """Last line of the error, or why it was not run."""
    found: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def publish(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON aside and rename it: whoever is cut off leaves the version before."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)


def write(folder: Path, about: Mapping[str, Any], verdicts: Sequence[Verdict]) -> None:
    """Rewrite both files."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [dataclasses.asdict(verdict) for verdict in verdicts]
    publish(folder / "gpu_check.json", {**about, "lines": lines})
    (folder / "gpu_check.txt").write_text(table(verdicts), encoding="utf-8")


def table(verdicts: Sequence[Verdict]) -> str:
    """One line each, and below it what was found."""
    made = []
    for one in verdicts:
        why = f"  {one.why}" if one.why else ""
        made.append(f"{one.verdict:<8}{one.seconds:6.1f} s  {one.name}{why}")
        found = ", ".join(f"{name} {plain(value)}" for name, value in one.found.items())
        indent = " " * 18
        made += textwrap.wrap(found, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(made) + "\n"


def plain(value: Any) -> str:
    """A value as the table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
