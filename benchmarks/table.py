"""How a benchmark shows what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def show(found: Mapping[str, Any], as_json: bool) -> None:
    """Print names and values, one line each, or JSON."""
    if as_json:
        print(json.dumps(found, indent=1))
        return
    width = max(len(name) for name in found)
    for name, value in found.items():
        print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
