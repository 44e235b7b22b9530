"""A study crossed with one more factor: what search is worth beside model and policy."""

from __future__ import annotations

import dataclasses
from typing import cast

from agents.search import VARIANTS, Variant
from expedition.errors import UserError, unknown_name
from experiments.studies.conditions import Cell, Condition
from experiments.studies.study import Study
from transfer.contributions import default_factorial

SEARCH = "search"
"""What contributions call it."""


def with_search(study: Study, variant: str) -> Study:
    """Beside each cell of its factorial, or of model and policy, the same with search in phase 2.

    Raises:
        UserError: there is no such variant, or a cell is missing.
    """
    if variant not in VARIANTS:
        raise unknown_name("use of search", variant, VARIANTS)
    named = {condition.name: condition for condition in study.conditions}
    crossed = study.crossed() or default_factorial(named)
    missing = sorted(set(crossed.cells.values()) - set(named))
    if missing:
        raise UserError(
            f"Study '{study.name}' lacks the condition '{missing[0]}', which --search crosses with search: "
            "name it among the conditions, or leave --search out."
        )
    cells, twins = [], []
    for carried, name in crossed.cells.items():
        parts = [part for part in crossed.components if part in carried]
        twins.append(searching(named[name], variant))
        cells += [Cell(name, "+".join(parts)), Cell(twins[-1].name, "+".join((*parts, SEARCH)))]
    return dataclasses.replace(study, conditions=(*study.conditions, *twins), factorial=tuple(cells))


def searching(condition: Condition, variant: str) -> Condition:
    """The same condition with search, named so."""
    return dataclasses.replace(condition, name=f"{condition.name}, {variant}", search=cast(Variant, variant))
