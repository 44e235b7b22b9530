"""What `expedition list` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from envs import Suite, environments, suites
from experiments.studies.presets import presets
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
                "install": info.how_to_install,
                "snapshot": info.snapshot,
                "options": {key: option.default for key, option in info.options.items()},
            }
            for name, info in environments().items()
        },
        "intrinsic": {name: {"description": text} for name, (text, _) in INTRINSIC.items()},
        "plans": {
            name: {"description": text, "components": plan.as_dict()} for name, (text, plan) in PLANS.items()
        },
        "studies": {
            name: {
                "description": f"{preset.description} [{', '.join(preset.budgets)}]",
                "budgets": {
                    budget: {
                        "environment": study.env,
                        "tasks": list(study.finetune_envs),
                        "size": study.size,
                        "conditions": [condition.name for condition in study.conditions],
                        "seeds": study.seeds,
                        "pretrain_steps": study.pretrain_steps,
                        "finetune_steps": study.finetune_steps,
                        "finetune_agent": {own.name: own.value for own in study.finetune_agent},
                    }
                    for budget, study in preset.budgets.items()
                },
            }
            for name, preset in presets().items()
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
    """The catalogue as text, one line a name; environments by suite."""
    blocks = []
    for kind, entries in found.items():
        if kind == "environments":
            lines = [line for suite in suites().values() for line in _format_suite(suite)]
            lines.append(
                "  Any Gymnasium id with Box, (Multi)Discrete or MultiBinary spaces works too: CartPole-v1."
            )
        else:
            width = max(len(name) for name in entries)
            lines = [f"  {name:<{width}}  {entry['description']}" for name, entry in entries.items()]
        blocks.append("\n".join([kind, *lines]))
    return "\n\n".join(blocks)


def _format_suite(suite: Suite) -> list[str]:
    """What is to be known of one suite: its ids, spaces, options, and whether it is there."""
    ids = [suite.id(task) for task in suite.tasks]
    first = next(iter(suite.tasks.values()))
    seen = sorted({task.observation for task in suite.tasks.values()})
    acts = sorted({task.action for task in suite.tasks.values()})
    said = {task.description for task in suite.tasks.values()}
    state = "installed" if not suite.missing() else f"not installed: {suite.how_to_install}"
    restore = "snapshot" if suite.snapshot else "no snapshot"
    lines = [f"  {suite.name}  ({state}; {restore})"]
    lines.append(f"      {first.description if len(said) == 1 else f'{len(ids)} environments'}")
    if ids != [suite.name]:
        lines += _wrapped(" ".join(ids))
    lines += _wrapped(f"{_few(seen)}  ->  {_few(acts)}")
    for name, option in suite.options.items():
        lines.append(f"      ,{name}={str(option.default).lower()}  {option.help}")
    return lines


def _wrapped(text: str) -> list[str]:
    indent = " " * 6
    return textwrap.wrap(text, 104, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _few(words: list[str]) -> str:
    return " | ".join(words) if len(words) <= 2 else f"{words[0]} | ... ({len(words)} kinds)"
