"""A study with other settings: those of a file or of flags, laid over a named one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from expedition.errors import UserError
from experiments.settings import (
    Setting,
    agent_preset,
    as_settings,
    finetune_preset,
    overlay,
    read_settings,
    training_preset,
)
from experiments.studies.conditions import RANDOM_POLICY
from experiments.studies.study import Study
from training import to_dict


def overlaid(base: Study, values: Mapping[str, Any]) -> Study:
    """A study with other settings; a size brings its own, and a plan's name stands for a condition.

    Raises:
        UserError: a setting is not known or of another kind.
    """
    values = dict(values)
    if "size" in values and values["size"] != base.size:
        size = str(values["size"])
        base = dataclasses.replace(
            base,
            agent=agent_preset(size),
            finetune_agent=finetune_preset(size),
            pretrain=training_preset(size),
            finetune=training_preset(size),
        )
    if "finetune_agent" in values:
        values["finetune_agent"] = [to_dict(s) for s in _own(base, values["finetune_agent"])]
    if isinstance(values.get("conditions"), list):
        values["conditions"] = [
            {"name": item, "plan": item} if isinstance(item, str) else item for item in values["conditions"]
        ]
        names = {str(item.get("name")) for item in values["conditions"] if isinstance(item, Mapping)}
        base = _fitting(base, names)
    study = overlay(base, values)
    unused = study.tasks and study.env not in study.tasks
    if "env" in values and unused and not any(c.transfer.carries for c in study.conditions):
        raise UserError(
            f"Nothing explores '{study.env}': study '{study.name}' has no phase 1 and learns its tasks "
            f"alone. Name them in a file, as in `tasks: [{study.env}]`, in place of env."
        )
    return study


def _own(base: Study, values: Any) -> list[Setting]:
    """Settings of phase 2 alone: the base's, and over them those of a group in a file."""
    if not isinstance(values, Mapping):
        raise UserError("The setting 'finetune_agent' is a group: indent its settings below it.")
    overlay(base.agent, values)  # refuses what no agent has
    found = {setting.name: setting for setting in (*base.finetune_agent, *as_settings(values))}
    return [found[name] for name in sorted(found)]


def _fitting(study: Study, names: Set[str]) -> Study:
    """The study without the contrasts, cells and question that name other conditions than these."""
    names = names | {RANDOM_POLICY}
    contrasts = tuple(c for c in study.contrasts if set(c.named) <= names)
    cells = tuple(cell for cell in study.factorial if cell.condition in names)
    cells = cells if any(cell.carries for cell in cells) else ()
    curve = tuple(cell for cell in study.curve if cell.condition in names)
    curve = curve if len({cell.at for cell in curve} - {None}) > 1 else ()
    asked = study.question
    if asked is not None and not set(asked.contrast.conditions) <= names:
        asked = None
    return dataclasses.replace(study, contrasts=contrasts, factorial=cells, curve=curve, question=asked)


def study_file(path: Path) -> dict[str, Any]:
    """Settings of a study's file, `base` among them where it says on which study it is based.

    Raises:
        UserError: a missing or unreadable file.
    """
    values = {str(key).replace("-", "_"): value for key, value in read_settings(path).items()}
    values.setdefault("name", path.stem)
    return values
