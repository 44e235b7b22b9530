"""Studies: what they compare, with what settings."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable

from agents import AgentConfig, Kind
from agents.search import SearchConfig, Variant, as_variant
from envs import environment_info
from expedition.errors import UserError, unknown_name
from expedition.ranges import within
from experiments.settings import Setting, possible, with_settings
from experiments.studies.conditions import (
    RANDOM_POLICY,
    Cell,
    Condition,
    Contrast,
    Question,
    crossed,
    curved,
)
from exploration import Suggest, check_intrinsic
from training import TrainingConfig
from transfer.contributions import Curve, Factorial
from transfer.fitting import check_kinds, check_predictions, check_thaws, misfits
from world_model import SIZES, WorldModelConfig

MAX_SEEDS = 1000
"""More paired seeds than this are a slip of the pen."""


@dataclasses.dataclass(frozen=True)
class Study:
    """Pre-training runs that are shared, and one fine-tuning run for each condition, task and seed."""

    name: str
    """Name of the study and of its folder."""
    description: str
    """One line for `expedition list`."""
    env: str
    """Environment that is explored."""
    intrinsic: str
    """Intrinsic reward of phase 1."""
    size: str
    """Size of the world model."""
    pretrain_steps: int
    """Environment steps of phase 1, without reward."""
    finetune_steps: int
    """Environment steps of phase 2, equal for every condition."""
    conditions: tuple[Condition, ...]
    """What is compared. In a file: names of plans, plans spelled out, or groups of settings."""
    agent: AgentConfig
    """Of both phases, but for what `finetune_agent` says."""
    pretrain: TrainingConfig
    finetune: TrainingConfig
    seeds: int = 1
    """Seeds, each with pre-training runs of its own."""
    first_seed: int = 0
    """Number of the first seed. Settings are tried out on others than those that the study will use."""
    tasks: tuple[str, ...] = ()
    """Environments of phase 2; none for the one that was explored."""
    contrasts: tuple[Contrast, ...] = ()
    """Comparisons that the report prints beside the contributions; none for each condition over scratch."""
    factorial: tuple[Cell, ...] = ()
    """What the contributions cross; none for model and policy, by the names of their plans."""
    curve: tuple[Cell, ...] = ()
    """Factorials over something that is varied: cells with its value `at`, and those of every value."""
    over: str = ""
    """What a curve varies, in words: levels explored."""
    finetune_agent: tuple[Setting, ...] = ()
    """Settings of phase 2 alone, laid over `agent`. In a file: a group of settings like `agent`."""
    question: Question | None = None
    """What the report answers first; None for `model+policy` over `scratch`, or else the first contrast."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise UserError(
                f"The name of a study is letters, digits, '_', '.', '+' and '-', not '{self.name}'."
            )
        names = [condition.name for condition in self.conditions]
        if len(set(names)) < len(names) or not names:
            raise UserError(f"Study '{self.name}' must name at least one plan, and each only once.")
        check_intrinsic(self.intrinsic)
        if not 1 <= self.seeds <= MAX_SEEDS:
            raise UserError(f"A study needs at least one seed and at most {MAX_SEEDS:,}, not {self.seeds:,}.")
        within(self, "", "pretrain_steps finetune_steps", least=1)
        within(self, "", "first_seed", least=0)
        if self.size not in SIZES:
            raise unknown_name("size", self.size, SIZES)
        explored = [c.explores for c in self.conditions if c.explores]
        explored += [each.explores for c in self.conditions for each in c.data if each.explores]
        for env in {c.in_env(env) for c in self.measured for env in (self.env, *self.tasks, *explored)}:
            environment_info(env)
        self._check_data()
        self._check_named([*names, RANDOM_POLICY])
        self._check_phase_2()

    def _check_data(self) -> None:
        """Refuse explorers that stand twice in a condition, and too few steps for them or for learning."""
        for condition in self.conditions:
            told = [
                (each.intrinsic or condition.intrinsic or self.intrinsic, explores, each.seed)
                for each in condition.data
                for explores in (each.explores or condition.explores or self.env,)
            ]
            if len(set(told)) < len(told):
                raise UserError(
                    f"Condition '{condition.name}' learns from one explorer twice: give them different "
                    "seeds, rewards or environments in data, or name it once with a larger weight."
                )
            if self.pretrain_steps < len(told):
                raise UserError(
                    f"Condition '{condition.name}' has {len(told)} explorers that share "
                    f"{self.pretrain_steps:,} steps: raise pretrain_steps."
                )

    def _check_phase_2(self) -> None:
        """Refuse settings of phase 2 that would not fit what is carried, or that nothing would read."""
        if self.agent.kind != "model-based" or any(s.name == "kind" for s in self.finetune_agent):
            raise UserError(
                "Which kind of agent explores or learns is said by a study's conditions: name `explorer` and "
                "`learner` there, and leave `kind` out of the agent's settings."
            )
        unread = [s.name for s in self.finetune_agent if s.name.startswith("intrinsic.")]
        if unread:
            raise UserError(
                f"Phase 2 has no intrinsic reward: set {unread[0]} in `agent`, not in `finetune_agent`."
            )
        strange = misfits(self.agent, self.finetuning_agent)
        if strange:
            raise UserError(
                f"Phase 2 carries weights of phase 1 and cannot have another {' and '.join(strange)}: "
                "set that in `agent`, for both."
            )
        for condition in self.conditions:
            if condition.suggest is not None and (condition.intrinsic or self.intrinsic) != "language":
                raise UserError(
                    f"Condition '{condition.name}' says who suggests goals, and its phase 1 is rewarded for "
                    f"'{condition.intrinsic or self.intrinsic}': leave suggest out, or set its intrinsic "
                    "to language."
                )
            check_thaws(condition.transfer, possible(self.finetune, condition.transfer, self.agent))
            there, here = self.explorer_of(condition), self.learner_of(condition)
            check_kinds(condition.transfer, there, here)
            check_predictions(condition.transfer, there, here)

    @property
    def measured(self) -> tuple[Condition, ...]:
        """Its conditions, and the random policy, which belongs to every study."""
        if any(condition.name == RANDOM_POLICY for condition in self.conditions):
            return self.conditions
        return (*self.conditions, Condition(RANDOM_POLICY, "scratch", learner="random"))

    def _check_named(self, known: Collection[str]) -> None:
        asked = () if self.question is None else (self.question.contrast,)
        compared = (*self.contrasts, *asked)
        named = [("contrast", name) for contrast in compared for name in contrast.named]
        named += [("factorial", cell.condition) for cell in self.factorial]
        named += [("curve", cell.condition) for cell in self.curve]
        for where, name in named:
            if name not in known:
                raise unknown_name(f"condition in a {where}", name, known)
        places = [(c.label, task) for c in compared for task in (c.task, c.less_on) if task is not None]
        for label, task in places:
            if task not in self.finetune_envs:
                raise unknown_name(f"task in the contrast '{label}'", task, self.finetune_envs)
        self._check_explored(compared)
        self._check_foresight()
        self.crossed()
        self.curved()

    def _check_explored(self, contrasts: Iterable[Contrast]) -> None:
        """Refuse contrasts of phase 1 that have no two different runs to compare."""
        conditions = {condition.name: condition for condition in self.measured}
        for contrast in contrasts:
            if not contrast.of_phase_1:
                continue
            sides = [conditions[name] for name in contrast.conditions]
            for side in sides:
                if not side.transfer.carries:
                    raise UserError(
                        f"Contrast '{contrast.label}' compares phase 1 of '{side.name}', which carries "
                        "nothing and has none: name a condition that carries something."
                    )
            one, other = (
                (
                    side.in_env(side.explores or self.env),
                    side.intrinsic or self.intrinsic,
                    self.explorer_of(side),
                    side.data,
                )
                for side in sides
            )
            if one == other:
                raise UserError(
                    f"Contrast '{contrast.label}': '{sides[0].name}' and '{sides[1].name}' carry from the "
                    "same pre-training run: name a condition that explores otherwise."
                )

    def _check_foresight(self) -> None:
        """Refuse to ask for errors that the decoder or the probe of a model would tell, where it has none."""
        metric = None if self.question is None else self.question.metric
        if self.question is None or metric is None:
            return
        conditions, phase_1 = {c.name: c for c in self.measured}, self.question.contrast.of_phase_1
        for name in self.question.contrast.conditions:
            agent = (self.explorer_of if phase_1 else self.learner_of)(conditions[name])
            training = self.probing(self.pretrain if phase_1 else self.finetune)
            decodes = agent.model.predicts == "reconstruction"
            if metric.startswith("open_loop_") and not decodes:
                raise UserError(
                    f"'{name}' predicts '{agent.model.predicts}' and has no decoder that could tell "
                    f"{metric}: ask for {metric.replace('open_loop_', 'probe_')}."
                )
            if metric.startswith("probe_") and not training.probes(decodes):
                raise UserError(
                    f"'{name}' gets no probe that could tell {metric}: set probe_all in `pretrain` and "
                    "`finetune`, and probe_updates above 0."
                )

    def probing(self, training: TrainingConfig) -> TrainingConfig:
        """Settings of training, with probes of all models where conditions differ in what they predict."""
        differ = any(condition.predicts is not None for condition in self.conditions)
        every = training.probe_all or (differ and training.probe_updates > 0)
        return dataclasses.replace(training, probe_all=every)

    def explorer_of(self, condition: Condition) -> AgentConfig:
        """The agent of phase 1 of a condition."""
        return _suggested(_as_told(self.agent, condition.explorer, condition, None), condition.suggest)

    def explored_by(self, condition: Condition) -> str:
        """The environment of phase 1 of a condition."""
        return condition.in_env(condition.explores or self.env)

    def learner_of(self, condition: Condition) -> AgentConfig:
        """The agent of phase 2 of a condition."""
        return _as_told(self.finetuning_agent, condition.learner, condition, condition.search)

    def crossed(self) -> Factorial | None:
        """Its own factorial; None where it has none.

        Raises:
            UserError: as `conditions.crossed`, or a cell has the value of a curve.
        """
        if any(cell.at is not None for cell in self.factorial):
            raise UserError("A cell with a value `at` belongs to a study's curve, not to its factorial.")
        return crossed(self.factorial) if self.factorial else None

    def curved(self) -> Curve | None:
        """Its factorials over what is varied; None where nothing is.

        Raises:
            UserError: as `conditions.curved`, or it does not say what is varied.
        """
        if self.curve and not self.over:
            raise UserError(f"Study '{self.name}' has a curve: say in `over` what is varied.")
        return curved(self.over, self.curve) if self.curve else None

    @functools.cached_property
    def finetuning_agent(self) -> AgentConfig:
        """Settings of the agent in phase 2."""
        return with_settings(self.agent, self.finetune_agent)

    @property
    def seed_numbers(self) -> range:
        """Its seeds by number."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def finetune_envs(self) -> tuple[str, ...]:
        """Environments of phase 2."""
        return self.tasks or (self.env,)


def _as_told(agent: AgentConfig, kind: Kind, told: Condition, search: Variant | None) -> AgentConfig:
    """The agent of a kind; only a model-based one predicts and plans, so the others share their runs."""
    objects = dataclasses.replace(agent.model.objects, kind=told.objects or agent.model.objects.kind)
    model = dataclasses.replace(agent.model, objects=objects)
    if kind != "model-based":
        model = dataclasses.replace(model, predicts=WorldModelConfig.predicts)
        return dataclasses.replace(agent, kind=kind, model=model, search=SearchConfig())
    model = dataclasses.replace(model, predicts=told.predicts or agent.model.predicts)
    uses = agent.search if search is None else as_variant(agent.search, search)
    return dataclasses.replace(agent, model=model, search=uses)


def _suggested(agent: AgentConfig, suggest: Suggest | None) -> AgentConfig:
    """The agent as a condition says who suggests its goals."""
    if suggest is None:
        return agent
    language = dataclasses.replace(agent.intrinsic.language, suggest=suggest)
    return dataclasses.replace(agent, intrinsic=dataclasses.replace(agent.intrinsic, language=language))
