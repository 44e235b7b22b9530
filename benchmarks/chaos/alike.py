"""Whether two runs are the same: logs, results, and the tensors of the last checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expedition import UserError
from training import open_checkpoint, read_result


def run_differences(one: Path, other: Path) -> list[str]:
    """In what two finished runs of the same settings differ, but for what follows the clock."""
    found = [name for name in ("metrics", "episodes") if _lines(one, name) != _lines(other, name)]
    try:
        if _measures(one) != _measures(other):
            found.append("result")
        left, right = _tensors(one), _tensors(other)
        return found + sorted(name for name in left | right if left.get(name) != right.get(name))
    except UserError as error:
        return [*found, str(error)]


def _lines(run: Path, name: str) -> list[dict[str, Any]]:
    path = run / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if "second" not in key} for line in lines]


def _measures(run: Path) -> dict[str, Any]:
    result = read_result(run)
    return {} if result is None else {k: v for k, v in result.items() if "seconds" not in k}


def _tensors(run: Path) -> dict[str, str]:
    """Hashes of the tensor files that the newest checkpoint needs, which are what is on the disk."""
    if not list(run.glob("checkpoint-*")):  # the random policy saves nothing
        return {}
    checkpoint = open_checkpoint(run)
    checkpoint.whole_files()
    found = {name: each for name, each in checkpoint.hashes.items() if name.endswith(".safetensors")}
    return {**found, "step": str(checkpoint.step)}
