"""What each carried component was worth: effects of a factorial over sets of components, Shapley values."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from expedition.errors import UserError
from transfer.statistics import Estimate, Results, Value, estimate, paired_contrast

Subset = frozenset[str]

NOTHING: Subset = frozenset()


@dataclass(frozen=True)
class Effect:
    """A weighted sum of the values of sets of components.

    Attributes:
        name: unique in its factorial, such as `model: Shapley value`.
        kind: `total`, `shapley`, `main`, `interaction`, `alone` or `last`.
        components: what it is the effect of.
        weights: set of components -> weight; those of weight zero are left out.
    """

    name: str
    kind: str
    components: tuple[str, ...]
    weights: Mapping[Subset, float]


@dataclass(frozen=True)
class Factorial:
    """Which condition of a study carries which set of components; some sets may have none.

    Raises:
        UserError: no component, one named twice, a set with a component that isn't among them, or a condition
            that carries two sets.
    """

    components: tuple[str, ...]
    """What is crossed, in the order of the report."""
    cells: Mapping[Subset, str]
    """Set of components -> condition."""

    def __post_init__(self) -> None:
        if not self.components or len(set(self.components)) < len(self.components):
            raise UserError(f"A factorial names its components, each once, not {list(self.components)}.")
        for carried in self.cells:
            if strange := sorted(carried - set(self.components)):
                known = ", ".join(self.components)
                raise UserError(f"A factorial of {known} has no cell '{'+'.join(strange)}': name it too.")
        if len(set(self.cells.values())) < len(self.cells):
            told = ", ".join(self.cells.values())
            raise UserError(f"A factorial names a condition for one set of components only, not {told}.")

    @classmethod
    def named(cls, components: Iterable[str], cells: Mapping[str, str]) -> Factorial:
        """Return a factorial whose cells are spelled `model+policy`; the empty name carries nothing.

        Raises:
            UserError: as for the factorial itself, and for two cells that are the same set.
        """
        parsed = {frozenset(name.split("+")) if name else NOTHING: cells[name] for name in cells}
        if len(parsed) < len(cells):
            raise UserError(f"A factorial names each set of components once, not {', '.join(cells)}.")
        return cls(tuple(components), parsed)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, from which `named` makes it again."""
        cells = {
            "+".join(c for c in self.components if c in carried): name for carried, name in self.cells.items()
        }
        return {"components": list(self.components), "cells": cells}

    def of(self, conditions: Collection[str]) -> Factorial:
        """Return the factorial of those cells alone that these conditions are."""
        return Factorial(self.components, {c: name for c, name in self.cells.items() if name in conditions})

    @property
    def baseline(self) -> str | None:
        """The condition that carries nothing."""
        return self.cells.get(NOTHING)

    def title(self, carried: Iterable[str]) -> str:
        """Return a set of components as it is written: `model+policy`, `nothing`."""
        chosen = set(carried)
        return "+".join(name for name in self.components if name in chosen) or "nothing"

    def subsets(self) -> list[Subset]:
        """Return all sets of components, smaller ones first."""
        sizes = range(len(self.components) + 1)
        return [frozenset(chosen) for size in sizes for chosen in combinations(self.components, size)]

    def effects(self) -> list[Effect]:
        """Return the total gain, Shapley values, main effects, interactions, simple effects, in that order.

        Let y(S) be the value of the condition that carries the set S of the k components.

        - total: y(all) - y(nothing).
        - Shapley value of c: the mean, over all orders in which components could be added, of what adding c
          changes (Shapley 1953). They sum to the total.
        - main effect of c: mean of y over the sets with c, less the mean over those without.
        - interaction of a set A: the sum over S of y(S), with the sign minus for each member of A that S
          lacks, divided by 2^(k-1) (Box, Hunter and Hunter 2005, chapter 5), the scale of main effects.
        - alone, and last: y({c}) - y(nothing), and y(all) - y(all but c).

        With two components main effects equal Shapley values, and `last` and `alone` are the main effect plus
        and minus the interaction. There are none where fewer than two sets have a condition.
        """
        if len(self.cells) < 2:
            return []
        parts, everything = self.components, frozenset(self.components)
        found = [Effect("total gain", "total", parts, {everything: 1.0, NOTHING: -1.0})]
        if len(parts) == 1:
            return found
        found += [Effect(f"{c}: Shapley value", "shapley", (c,), self._shapley(c)) for c in parts]
        for size in range(1, len(parts) + 1):
            for chosen in combinations(parts, size):
                kind = "main" if size == 1 else "interaction"
                name = f"{chosen[0]}: main effect" if size == 1 else " x ".join(chosen)
                found.append(Effect(name, kind, chosen, self._contrast(frozenset(chosen))))
        for c in parts:
            rest = everything - {c}
            found.append(Effect(f"{c} alone", "alone", (c,), {frozenset({c}): 1.0, NOTHING: -1.0}))
            name = f"{c} given {self.title(rest)}"
            found.append(Effect(name, "last", (c,), {everything: 1.0, rest: -1.0}))
        return found

    def missing(self, effect: Effect, results: Results) -> list[str]:
        """Return the sets that an effect needs and that no condition with a value carries, as written."""
        return [self.title(s) for s in self.subsets() if s in effect.weights and not self._values(s, results)]

    def paired(self, effect: Effect, results: Results) -> dict[int, Value]:
        """Return an effect for each seed that all its conditions have; empty where one is missing."""
        if self.missing(effect, results):
            return {}
        return paired_contrast(results, {self.cells[s]: weight for s, weight in effect.weights.items()})

    def _values(self, carried: Subset, results: Results) -> Mapping[int, Value]:
        return results.get(self.cells[carried], {}) if carried in self.cells else {}

    def _shapley(self, component: str) -> dict[Subset, float]:
        k, weights = len(self.components), {}
        for before in self.subsets():
            if component not in before:
                orders = math.factorial(len(before)) * math.factorial(k - len(before) - 1)
                weights[before | {component}] = orders / math.factorial(k)
                weights[before] = -orders / math.factorial(k)
        return weights

    def _contrast(self, chosen: Subset) -> dict[Subset, float]:
        scale = 2 ** (len(self.components) - 1)
        return {carried: (-1) ** len(chosen - carried) / scale for carried in self.subsets()}


@dataclass(frozen=True)
class Curve:
    """The same factorial for several values of something that is varied: a dose and its responses.

    Raises:
        UserError: fewer than two values, one below 0, or values whose components differ.
    """

    over: str
    """What is varied, in words."""
    factorials: Mapping[int, Factorial]
    """By its value, in order; 0 stands for all there are."""

    def __post_init__(self) -> None:
        if len(self.factorials) < 2 or min(self.factorials) < 0:
            raise UserError(
                f"A curve needs cells at two values or more, none below 0, not at {list(self.factorials)}."
            )
        if len({factorial.components for factorial in self.factorials.values()}) > 1:
            raise UserError(
                "A curve crosses the same components at each value: name the same in the same order."
            )

    @classmethod
    def named(cls, over: str, points: Mapping[str, Mapping[str, Any]]) -> Curve:
        """Return it from what `as_dict` gave."""
        return cls(over, {int(at): Factorial.named(p["components"], p["cells"]) for at, p in points.items()})

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        points = {str(at): factorial.as_dict() for at, factorial in self.factorials.items()}
        return {"over": self.over, "points": points}

    def effects(self) -> list[Effect]:
        """Return the effects at any value: they have the same names and kinds at all."""
        every = [effect for factorial in self.factorials.values() for effect in factorial.effects()]
        return list({effect.name: effect for effect in every}.values())

    def places(self) -> dict[int, int]:
        """Return where each value lies on a logarithmic axis: all there are, one step beyond the largest."""
        known = sorted(at for at in self.factorials if at)
        beyond = known[-1] * known[-1] // known[-2] if len(known) > 1 else 10 * known[-1]
        return {at: at or beyond for at in self.factorials}


def told_value(at: int) -> str:
    """Return a value of a curve as it is written."""
    return str(at) if at else "all"


def default_factorial(conditions: Iterable[str]) -> Factorial:
    """Return the factorial of model and policy over a study's conditions by their plans' names.

    Both are carried by `model+prior` where the study has it, because there the policy is carried as it is in
    `policy`; else by `model+policy`.
    """
    both = "model+prior" if "model+prior" in set(conditions) else "model+policy"
    cells = {"": "scratch", "model": "model", "policy": "policy", "model+policy": both}
    return Factorial.named(("model", "policy"), cells)


def contributions(results: Results, factorial: Factorial, confidence: float = 0.95) -> dict[str, Estimate]:
    """Estimate each effect of a factorial, paired by seed; one with a condition missing is left out.

    An effect is a difference of values: where lower is better (errors), a negative one is a gain. It rests on
    the seeds that every condition involved has (`n` says how many). Where conditions lack seeds, the means of
    different effects rest on different seeds and needn't add up.

    Args:
        results: condition -> seed -> value; conditions outside the factorial are ignored.
        factorial: which condition carries what.
        confidence: the level of the intervals.

    Returns:
        Name of the effect -> estimate, in the order of `Factorial.effects`.

    Raises:
        ValueError: a value isn't finite.
    """
    pairs = {effect.name: factorial.paired(effect, results) for effect in factorial.effects()}
    return {name: estimate(by_seed.values(), confidence) for name, by_seed in pairs.items() if by_seed}
