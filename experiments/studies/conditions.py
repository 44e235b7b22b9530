"""What a study compares: ways to come to a task, and comparisons of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable
from typing import get_args

from agents import Kind
from agents.search import VARIANTS, Variant
from envs import with_options
from expedition.errors import UserError, unknown_name
from expedition.ranges import within
from exploration import Suggest, check_intrinsic
from transfer.contributions import Curve, Factorial
from transfer.plan import TransferPlan, parse_plan
from world_model import ObjectsKind, Predicts, check_predicts

RANDOM_POLICY = "random policy"
"""Name of the condition that every study measures beside its own: it learns nothing."""
EXPLORED = "pretrain:"
"""Before the name of a condition in a contrast: its pre-training run is meant."""


@dataclasses.dataclass(frozen=True)
class Gathered:
    """Rows that an explorer of a condition gathers for others to learn from: its replay."""

    intrinsic: str | None = None
    """What it is rewarded with, where that is not its condition's intrinsic reward."""
    explores: str | None = None
    """Where, if not in its condition's environment of phase 1."""
    seed: int = 0
    """Added to the study's seed: explorers that are alike in all else need it to differ."""
    weight: float = 1.0
    """How often a sequence is drawn from its rows, against the other explorers' weights."""

    def __post_init__(self) -> None:
        if self.intrinsic is not None:
            check_intrinsic(self.intrinsic)
        within(self, "data", "seed", least=0)
        within(self, "data", "weight", above=0)


@dataclasses.dataclass(frozen=True)
class Condition:
    """One way to come to the task: what was explored, by whom, what is carried, and who fine-tunes."""

    name: str
    """What tables call it."""
    plan: str
    """What is carried: the name of a plan, or a plan spelled out."""
    intrinsic: str | None = None
    """Intrinsic reward of phase 1, where it is not the study's: `random-data` for the control."""
    suggest: Suggest | None = None
    """Who suggests goals where the reward of phase 1 is `language`, and it is not as the study's agent says:
    ranked, endpoint, all or oracle."""
    explores: str | None = None
    """Environment of phase 1, where it is not the study's."""
    data: tuple[Gathered, ...] = ()
    """Explorers from whose replays phase 1 learns, in place of steps of its own. They share the study's steps
    of phase 1, and the room for its replay, in equal parts; as many updates are made as all the steps are
    worth to one explorer."""
    options: str | None = None
    """Options of the environments of both phases, laid over the study's: `actions=relative`."""
    explorer: Kind = "model-based"
    """Agent of phase 1."""
    learner: Kind = "model-based"
    """Agent of phase 2."""
    predicts: Predicts | str | None = None
    """What the models of both phases predict, where it is not what the study's agent does. A study whose
    conditions say it probes all its models, so that they compare."""
    objects: ObjectsKind | None = None
    """How the agents of both phases read sets of objects, where it is not as the study's agent does."""
    search: Variant | None = None
    """How the agent of phase 2 plans, where it is not as the study's agent says: dreamer, one-step, learn,
    data, learn+data, learn+data+eval or eval."""
    steps: int | None = None
    """Environment steps of phase 2, where they are not the study's: a control may need more of them to learn
    anything. The name should say so."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^\s/][^/]*", self.name):
            raise UserError(f"The name of a condition may hold no '/', and must not be empty: '{self.name}'.")
        parse_plan(self.plan)
        if self.intrinsic is not None:
            check_intrinsic(self.intrinsic)
        if self.suggest is not None and self.suggest not in get_args(Suggest):
            raise unknown_name("source of goals", self.suggest, get_args(Suggest))
        for role, kind in (("explorer", self.explorer), ("learner", self.learner)):
            if kind not in get_args(Kind):
                raise unknown_name(role, kind, get_args(Kind))
        if self.predicts is not None:
            check_predicts(self.predicts)
        if self.objects is not None and self.objects not in get_args(ObjectsKind):
            raise unknown_name("way to read objects", self.objects, get_args(ObjectsKind))
        self._check_search()
        if self.explorer == "ppo":
            raise UserError(f"Condition '{self.name}': PPO explores nothing; choose another explorer.")
        if self.learner == "ppo" and self.transfer.carries:
            raise UserError(f"Condition '{self.name}': PPO can take nothing over; give it the plan scratch.")
        if self.explores is not None and not self.transfer.carries:
            raise UserError(
                f"Condition '{self.name}' explores '{self.explores}' and carries nothing of it: leave "
                "explores out, or give it a plan that carries something."
            )
        if self.data and not self.transfer.carries:
            raise UserError(
                f"Condition '{self.name}' learns from replays and carries nothing of it: leave data out, or "
                "give it a plan that carries something."
            )
        if self.steps is not None and self.steps < 1:
            raise UserError(f"Condition '{self.name}': steps must be at least 1, not {self.steps}.")
        self._check_random()

    def _check_search(self) -> None:
        if self.search is None:
            return
        if self.search not in VARIANTS:
            raise unknown_name("use of search", self.search, VARIANTS)
        if self.learner != "model-based":
            raise UserError(
                f"Condition '{self.name}': search needs a model, which the learner '{self.learner}' has not; "
                "leave search out, or choose the learner model-based."
            )

    def _check_random(self) -> None:
        if self.explorer == "random":
            raise UserError(
                f"Condition '{self.name}': the random policy learns nothing; explore with the intrinsic "
                "reward random-data."
            )
        measured = self.learner == "random"
        if measured != (self.name == RANDOM_POLICY) or (measured and (self.transfer.carries or self.steps)):
            raise UserError(
                f"Condition '{self.name}': the learner random belongs to the condition '{RANDOM_POLICY}' "
                "alone, with the plan scratch, which every study measures: leave it out."
            )

    def in_env(self, env: str) -> str:
        """The environment of the study as this condition has it."""
        return env if self.options is None else with_options(env, self.options)

    @property
    def transfer(self) -> TransferPlan:
        """The plan."""
        return parse_plan(self.plan)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A comparison of two conditions, paired by seed."""

    label: str
    """What it says."""
    better: str
    """The condition that should gain; `pretrain:` before both names compares phase 1."""
    baseline: str
    """The condition that it is compared with."""
    task: str | None = None
    """Task of phase 2 on which they are compared; None for the mean over all."""
    less_on: str | None = None
    """Another task, whose difference is taken off: by how much more is gained on `task` (an interaction)."""
    less: tuple[str, ...] = ()
    """Two other conditions, whose difference is taken off: by how much more is gained by these two."""

    def __post_init__(self) -> None:
        self._check_less()
        if self.less_on is not None and self.task in (None, self.less_on):
            raise UserError(
                f"Contrast '{self.label}' takes off the gain on '{self.less_on}': name another `task` from "
                "whose gain."
            )
        if self.task is not None and self.better.startswith(EXPLORED):
            raise UserError(f"Contrast '{self.label}' compares phase 1, which has no task: leave `task` out.")
        if self.better.startswith(EXPLORED) != self.baseline.startswith(EXPLORED):
            raise UserError(
                f"Contrast '{self.label}' compares phase 1 with phase 2: write '{EXPLORED}' before both "
                "conditions or before neither."
            )
        if self.better == self.baseline:
            raise UserError(f"Contrast '{self.label}' compares '{self.better}' with itself: name another.")

    def _check_less(self) -> None:
        if self.less and (len(set(self.less)) != 2 or set(self.less) == {self.better, self.baseline}):
            raise UserError(
                f"Contrast '{self.label}' takes off the difference of two other conditions: name both in "
                f"`less`, the better first, not {list(self.less)}."
            )
        if self.less and (self.less_on is not None or self.of_phase_1):
            raise UserError(
                f"Contrast '{self.label}' takes off the difference of two conditions of phase 2: leave "
                f"`less` out, or `less_on` and '{EXPLORED}'."
            )

    @property
    def of_phase_1(self) -> bool:
        """Whether pre-training runs are compared."""
        return self.better.startswith(EXPLORED)

    @property
    def conditions(self) -> tuple[str, str]:
        """Names of the two conditions, whichever phase is compared."""
        return self.better.removeprefix(EXPLORED), self.baseline.removeprefix(EXPLORED)

    @property
    def named(self) -> tuple[str, ...]:
        """Names of all conditions that it needs: the two, and those whose difference is taken off."""
        return (*self.conditions, *self.less)


@dataclasses.dataclass(frozen=True)
class Question:
    """What a study is to answer, chosen before it is run: one comparison, in one measure."""

    better: str
    """The condition that should gain; `pretrain:` before both names compares phase 1."""
    baseline: str
    """The condition that it is compared with."""
    metric: str | None = None
    """The measure; None for the final return, or over several tasks success or the return by task."""
    task: str | None = None
    """Task of phase 2 on which they are compared; None for the mean over all."""

    @property
    def contrast(self) -> Contrast:
        """The comparison."""
        return Contrast(f"{self.better} over {self.baseline}", self.better, self.baseline, self.task)

    def __post_init__(self) -> None:
        if self.metric == "":
            raise UserError("A question's metric is empty: name a measure, such as return, or leave it out.")
        self.contrast.__post_init__()


def usual_question(conditions: Collection[str], contrasts: Iterable[Contrast]) -> Question | None:
    """What a study asks that names no question: `model+policy` over `scratch`, or else its first contrast."""
    if {"model+policy", "scratch"} <= set(conditions):
        return Question("model+policy", "scratch")
    first = next(iter(contrasts), None)
    return None if first is None else Question(first.better, first.baseline)


@dataclasses.dataclass(frozen=True)
class Cell:
    """Which condition carries a set of components, in a factorial or in one of those of a curve."""

    condition: str
    """The condition."""
    carries: str = ""
    """What it carries of the components that are crossed, as `model+replay`; empty: none of them."""
    at: int | None = None
    """In a curve, the value of what is varied, 0 for all there are; None for a cell of every value."""

    def __post_init__(self) -> None:
        parts = self.carries.split("+") if self.carries else []
        if len(set(parts)) < len(parts) or any(part != part.strip() or not part for part in parts):
            raise UserError(
                f"The cell of '{self.condition}' carries '{self.carries}': name components as in "
                "model+replay, each once."
            )

    @property
    def components(self) -> tuple[str, ...]:
        """What it carries."""
        return tuple(self.carries.split("+")) if self.carries else ()


def crossed(cells: Iterable[Cell]) -> Factorial:
    """The factorial of cells, components in the order in which they are named.

    Raises:
        UserError: no component, two cells of one set of components, or of one condition.
    """
    cells = list(cells)
    components = dict.fromkeys(part for cell in cells for part in cell.components)
    found = {frozenset(cell.components): cell.condition for cell in cells}
    if len(found) < len(cells):
        told = ", ".join(cell.carries or "nothing" for cell in cells)
        raise UserError(f"A factorial names each set of components once, not {told}.")
    return Factorial(tuple(components), found)


def curved(over: str, cells: Iterable[Cell]) -> Curve:
    """The curve of cells: a factorial for each value that they name, in its order.

    Raises:
        UserError: as `crossed`, or fewer than two values.
    """
    cells = list(cells)
    values = dict.fromkeys(cell.at for cell in cells if cell.at is not None)
    return Curve(over, {at: crossed(cell for cell in cells if cell.at in (None, at)) for at in values})
