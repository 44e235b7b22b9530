"""What `expedition list` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs import environments
from experiments.study import STUDIES
from exploration import INTRINSIC
from transfer.plan import PLANS
from world_model import SIZES

Catalogue = dict[str, dict[str, dict[str, Any]]]


def catalogue() -> Catalogue:
    """Everything that has a name, by kind and name, as plain values."""
    return {
        "environments": {
            name: {
                "description": info.description,
                "observation": info.observation,
                "action": info.action,
                "installed": not info.missing,
                "snapshot": info.snapshot,
            }
            for name, info in environments().items()
        },
        "intrinsic": {name: {"description": text} for name, (text, _) in INTRINSIC.items()},
        "plans": {
            name: {"description": text, "components": plan.as_dict()} for name, (text, plan) in PLANS.items()
        },
        "studies": {
            name: {
                "description": study.description,
                "environment": study.env,
                "plans": list(study.plans),
                "pretrain_steps": study.pretrain_steps,
                "finetune_steps": study.finetune_steps,
            }
            for name, study in STUDIES.items()
        },
        "sizes": {
            name: {
                "description": f"deter {size.deter}, hidden {size.hidden}, "
                f"stoch {size.stoch}x{size.classes}, convolution depth {size.depth} ({size.conv})"
            }
            for name, size in SIZES.items()
        },
    }


def format_catalogue(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The catalogue as text, one line a name."""
    blocks = []
    for kind, entries in found.items():
        width = max(len(name) for name in entries)
        lines = [f"  {name:<{width}}  {entry['description']}" for name, entry in entries.items()]
        if kind == "environments":
            lines.append("  Any Gymnasium id with Box or Discrete spaces works too, such as CartPole-v1.")
        blocks.append("\n".join([kind, *lines]))
    return "\n\n".join(blocks)
