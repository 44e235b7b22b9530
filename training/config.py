"""What a run is: frozen settings, their JSON, and the id that follows from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from agents import AgentConfig
from envs import environment_words
from expedition.errors import UserError, unknown_name
from expedition.ranges import LATER, later, within
from exploration import CoverageConfig
from world_model import SIZES

T = TypeVar("T")

MAX_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class RehearsalConfig:
    """Which trajectories are retrieved from carried data, and how often they are rehearsed."""

    share: float = 0.25
    """Share of the sequences of a batch that come from retrieved trajectories, in the mean over batches."""
    trajectories: int = 64
    """How many are retrieved: the nearest; all where there are fewer."""
    starts: int = 16
    """First observations of the task to which they are near."""

    def __post_init__(self) -> None:
        within(self, "training.rehearsal", "share", above=0, below=1)
        within(self, "training.rehearsal", "trajectories starts", least=1)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How experience is collected, replayed and judged."""

    num_envs: int = 8
    """Environments side by side."""
    batch: int = 16
    """Sequences in a batch."""
    length: int = 64
    """Rows in a sequence."""
    train_ratio: float = 64.0
    """Replayed rows for each environment step; updates follow from it."""
    learning_starts: int = 1024
    """Environment steps before the first update."""
    overlap: bool = False
    """Collect and learn at the same time: faster with two cores or a GPU; acting is some steps behind."""
    offline_updates: int = 0
    """Updates on carried and relabelled rows before the first environment step of phase 2; in phase 1 all
    updates of a run on data of others."""
    rehearsal: RehearsalConfig = later(RehearsalConfig())
    replay_gib: float = 4.0
    """Most memory (or disk) that the replay may take, in GiB."""
    log_every: int = 1000
    """Environment steps between two lines of metrics."""
    checkpoint_seconds: float = 300.0
    """Seconds between two checkpoints; one is always written at the end."""
    evaluation_episodes: int = 32
    """Episodes that judge the final policy; in phase 2 also, on the same seeds, the one before any update,
    and the one after `offline_updates`."""
    evaluate_every: int = 0
    """Environment steps between evaluations during training, on those same episodes; 0 for none."""
    unseen: str | None = None
    """Another environment of the same spaces, on which the final policy is judged too and nothing is learned:
    levels that it never met. Its measures end with `_unseen`. Or options alone, laid over those of the run's
    environment: with `size=1.5` larger scenes, whose measures end with `_at_size=1.5`."""
    searches: tuple[int, ...] = ()
    """Simulations of tree search with which the final policy is judged too, each in its model: measures end
    with `_search16`."""
    depths: tuple[int, ...] = ()
    """Depths at which the largest of those searches is judged too: `_search16_depth2`."""
    simulator: bool = False
    """Judge those searches in the true environment too, where it can be set back: `_simulator16`."""
    heldout: int = 32
    """Held-out sequences in each set (of a uniformly random policy first) that judge the world model."""
    context: int = 8
    """Rows of a held-out sequence that the model sees before it predicts alone."""
    open_loop: int = 24
    """Rows that it then predicts."""
    heldout_repeat: float = 0.75
    """How likely the policy of a second held-out set repeats its last action; 0 for no such set."""
    probe_updates: int = 1000
    """Updates of the probe that makes what a model foresees visible where it has no decoder; 0 for none, and
    then neither errors nor films of it."""
    probe_all: bool = False
    """Probe models with a decoder too, to compare them with those without."""
    coverage: CoverageConfig = CoverageConfig()
    image_size: int = 64
    """Height and width of images in pixels."""

    def __post_init__(self) -> None:
        within(self, "training", "num_envs batch log_every heldout context open_loop image_size", least=1)
        within(self, "training", "length", least=2)
        within(self, "training", "train_ratio learning_starts replay_gib checkpoint_seconds", least=0)
        within(self, "training", "evaluation_episodes evaluate_every offline_updates probe_updates", least=0)
        if self.evaluate_every and not self.evaluation_episodes:
            raise UserError(
                "training.evaluate_every asks for evaluations of no episodes: set evaluation_episodes, or "
                "leave it out."
            )
        within(self, "training", "heldout_repeat", least=0, below=1)
        within(self, "training", "searches depths", least=1)
        if self.depths and not self.searches:
            raise UserError(
                "training.depths asks for searches of no simulations: set training.searches, for instance "
                "to 16, or leave it out."
            )
        if self.simulator and not self.searches:
            raise UserError(
                "training.simulator asks for searches of no simulations: set training.searches, for instance "
                "to 16, or leave it out."
            )
        if self.probe_all and not self.probe_updates:
            raise UserError(
                "training.probe_all asks for probes of no updates: set probe_updates, or leave it out."
            )

    def probes(self, decodes: bool) -> bool:
        """Whether a probe is fitted to a model: to one that has no decoder, or where asked for to all."""
        return self.probe_updates > 0 and (self.probe_all or not decodes)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One run, whole: two runs of equal configs on one machine give equal results."""

    env: str
    """Environment id."""
    phase: Literal["pretrain", "finetune"]
    """Phase 1 (intrinsic reward alone) or phase 2 (the task's reward)."""
    intrinsic: str | None
    """Intrinsic reward of phase 1; None in phase 2."""
    size: str
    """Named size of the world model."""
    steps: int
    """Environment steps of the run; 0 for the random policy, which is only evaluated, and for phase 1 on data
    of others."""
    seed: int
    """Seed of weights, samples and environments."""
    agent: AgentConfig
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        offline = self.phase == "pretrain" and self.training.offline_updates > 0
        within(self, "", "steps", least=0 if offline or self.agent.kind == "random" else 1)
        within(self, "", "seed", least=0, most=MAX_SEED)
        if self.size not in SIZES:
            raise unknown_name("size", self.size, SIZES)
        if self.phase == "pretrain" and self.intrinsic == "language":
            environment_words(self.env)
            if self.steps == 0:
                raise UserError(
                    "The reward 'language' is earned while steps are made, and data of others have no "
                    "captions: choose another --intrinsic with --data."
                )


def to_dict(config: Any, whole: bool = False) -> dict[str, Any]:
    """Plain JSON-able form of a dataclass.

    Groups of settings that came `later` (`expedition.ranges`) are left out at their defaults, so that runs
    that do not use them keep their names; unless the `whole` is asked for.
    """
    return json.loads(json.dumps(_plain(config, whole), default=str))


def _plain(value: Any, whole: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item, whole) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, whole) for key, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {
        field.name: _plain(item, whole)
        for field, item in fields
        if whole or not field.metadata.get(LATER) or item != field.default
    }


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a (nested) dataclass from its plain form.

    Raises:
        UserError: a field is unknown, missing, or of the wrong kind.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    strange = sorted(set(values) - set(fields))
    if strange:
        raise UserError(f"Unknown settings in {kind.__name__}: {', '.join(strange)}.")
    try:
        return kind(**{name: _restore(name, hints[name], value) for name, value in values.items()})
    except TypeError as error:
        raise UserError(f"{kind.__name__} cannot be read: {error}.") from error


_MISFIT = object()
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def _restore(name: str, hint: Any, value: Any) -> Any:
    """Turn one plain value into what its annotation says.

    Raises:
        UserError: it is of another kind.
    """
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = typing.get_args(hint) if union else (hint,)
    for option in options:
        found = _as(name, option, value)
        if found is not _MISFIT:
            return found
    words = [_WORDS.get(option) or _form(option) for option in options if option is not types.NoneType]
    raise UserError(f"The setting '{name}' must be {' or '.join(words)}, not {value!r}.")


def _form(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return " or ".join(map(str, typing.get_args(option)))
    return "a list" if typing.get_origin(option) is tuple else "a group of settings"


def _as(name: str, option: Any, value: Any) -> Any:
    """The value as one kind, or `_MISFIT`."""
    if dataclasses.is_dataclass(option):
        return from_dict(option, value) if isinstance(value, Mapping) else _MISFIT  # type: ignore[arg-type]
    if option in (int, float):
        return _as_number(option, value)
    if option is Path:
        return Path(value) if isinstance(value, str | Path) else _MISFIT
    if typing.get_origin(option) is tuple:
        inner = typing.get_args(option)[0]
        return tuple(_restore(name, inner, item) for item in value) if isinstance(value, list) else _MISFIT
    if typing.get_origin(option) is Literal:
        return value if value in typing.get_args(option) else _MISFIT
    return value if isinstance(value, option) else _MISFIT


def _as_number(option: type, value: Any) -> Any:
    """YAML reads 1e5 as a text, and JSON a whole float as an int."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _MISFIT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _MISFIT
    if option is int and isinstance(value, float):
        return int(value) if value.is_integer() else _MISFIT
    try:
        return option(value)
    except OverflowError:  # a whole number that no float can hold
        return _MISFIT


def fingerprint(config: Mapping[str, Any]) -> str:
    """Ten hex digits that name a configuration: equal settings, equal name."""
    canonical = json.dumps(_canonical(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def _canonical(value: Any) -> Any:
    """Whole floats as ints, for 32 and 32.0 are one setting."""
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def differences(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of the settings in which two plain configs differ, with both values."""
    found = []
    for key in sorted(set(left) | set(right)):
        one, two = left.get(key), right.get(key)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            found += differences(one, two, f"{prefix}{key}.")
        elif one != two:
            found.append(f"{prefix}{key} ({one} there, {two} asked for)")
    return found
