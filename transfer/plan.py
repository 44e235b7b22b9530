"""What is carried from phase 1 into phase 2: one mode for each component."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from expedition.errors import UserError, unknown_name

COMPONENTS = (
    "encoder",
    "dynamics",
    "decoder",
    "reward",
    "continue",
    "actor",
    "critic",
    "normalizers",
    "replay",
)
"""What a plan can speak of. `intrinsic` stays behind: phase 2 has no intrinsic reward."""

MODES = ("fresh", "copy", "freeze", "prior", "clone", "relabel", "retrieve")
"""What can become of a component. `freeze:N` thaws at environment step N of phase 2; `clone` is an actor
cloned from the replay, which begins episodes; `relabel` is the replay with the rewards of the task,
`relabel:NAME` with those that phase 1 recorded as `task/NAME`; `retrieve` is of the replay what begins near
to where the task begins, without rewards."""

CARRIED = ("copy", "freeze")
TAUGHT = ("prior", "clone")
"""Modes of an actor that stays beside the new agent as a frozen teacher."""

# Component -> what it reads, which must be carried with it to mean anything.
_READS = {
    "dynamics": ("encoder",),
    "decoder": ("encoder", "dynamics"),
    "reward": ("encoder", "dynamics"),
    "continue": ("encoder", "dynamics"),
    "actor": ("encoder", "dynamics"),
    "critic": ("encoder", "dynamics"),
    "normalizers": ("critic",),
}


# Mode -> the only component that can have it, and how that is said.
_OWNED = {
    "prior": ("actor", "a prior"),
    "clone": ("actor", "cloned"),
    "relabel": ("replay", "relabelled"),
    "retrieve": ("replay", "retrieved from"),
}


@dataclasses.dataclass(frozen=True)
class TransferPlan:
    """Each component's mode, one of `MODES`.

    `plan[component]` is the mode's name alone.

    Attributes:
        name: what the plan is called in tables.
        modes: component -> mode; a component that is not named is fresh.

    Raises:
        UserError: an unknown component or mode, or a plan that cannot mean anything.
    """

    name: str
    modes: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "modes", MappingProxyType(dict(self.modes)))
        for component, mode in self.modes.items():
            if component not in COMPONENTS:
                raise unknown_name("component", component, COMPONENTS)
            self._check_mode(component, mode)
        self._check()

    def __getitem__(self, component: str) -> str:
        return self._written(component).partition(":")[0]

    def thaw_step(self, component: str) -> int | None:
        """Environment step at which a component frozen by `freeze:N` begins to learn; None where none is."""
        mode, _, step = self._written(component).partition(":")
        return int(step) if mode == "freeze" and step else None

    @property
    def recorded_reward(self) -> str | None:
        """NAME of `replay=relabel:NAME`; None where it follows from the task."""
        mode, _, name = self._written("replay").partition(":")
        return name if mode == "relabel" and name else None

    @property
    def carries(self) -> bool:
        """Whether anything at all is carried."""
        return any(mode != "fresh" for mode in self.modes.values())

    def as_dict(self) -> dict[str, str]:
        """Mode of every component, as it is written."""
        return {component: self._written(component) for component in COMPONENTS}

    def _written(self, component: str) -> str:
        return self.modes.get(component, "fresh")

    def _check_mode(self, component: str, written: str) -> None:
        """Refuse a mode that is unknown, or whose part after the colon means nothing."""
        mode, colon, argument = written.partition(":")
        if mode not in MODES:
            raise unknown_name("mode", mode, MODES)
        if colon and mode not in ("freeze", "relabel"):
            raise UserError(
                f"Plan '{self.name}': nothing follows '{mode}': only freeze:STEPS and relabel:NAME say more."
            )
        if colon and mode == "freeze" and not re.fullmatch("[1-9][0-9]*", argument):
            raise UserError(
                f"Plan '{self.name}': {component}={written} must say after how many environment steps, at "
                f"least 1, it thaws, such as {component}=freeze:5000."
            )
        if colon and not argument:
            raise UserError(f"Plan '{self.name}': {component}={written} lacks the name of a recorded reward.")

    def _check(self) -> None:
        """Refuse what would run without meaning anything."""
        for component in COMPONENTS:
            for mode, (owner, told) in _OWNED.items():
                if self[component] == mode and component != owner:
                    raise UserError(
                        f"Plan '{self.name}': only the {owner} can be {told}, not the {component}."
                    )
        if self["replay"] == "freeze":
            raise UserError(f"Plan '{self.name}': a replay is copied or fresh; it has no weights to freeze.")
        if self["normalizers"] == "freeze":
            raise UserError(
                f"Plan '{self.name}': normalizers follow the returns; copy them or leave them fresh."
            )
        if self["replay"] == "retrieve" and self["encoder"] not in CARRIED:
            raise UserError(
                f"Plan '{self.name}' retrieves trajectories by distances in the encoder, which mean nothing "
                "in a fresh one: carry the encoder too."
            )
        for component, reads in _READS.items():
            missing = [name for name in reads if self[name] not in CARRIED]
            if self[component] in CARRIED and missing:
                hint = " or use actor=prior, which brings its own" if component == "actor" else ""
                raise UserError(
                    f"Plan '{self.name}' carries the {component} without the {' and the '.join(missing)} "
                    f"that it reads, which would make it meaningless: carry those too{hint}."
                )


_MODEL = {"encoder": "copy", "dynamics": "copy", "decoder": "copy", "continue": "copy"}

PLANS: dict[str, tuple[str, TransferPlan]] = {
    name: (text, TransferPlan(name, modes))
    for name, text, modes in (
        ("scratch", "nothing: the control", {}),
        ("encoder", "the observation encoder alone", {"encoder": "copy"}),
        ("model", "the world model, all but actor and critic", _MODEL),
        ("policy", "the policy as a prior, with a fresh model", {"actor": "prior"}),
        ("model+policy", "model and actor copied", {**_MODEL, "actor": "copy"}),
        ("model+prior", "the model copied, the policy as a prior", {**_MODEL, "actor": "prior"}),
        ("all", "model, actor and critic copied", {**_MODEL, "actor": "copy", "critic": "copy"}),
        ("replay", "the reward-free data alone", {"replay": "copy"}),
        ("relabel", "the data alone, with the task's rewards", {"replay": "relabel"}),
        ("model+relabel", "the model, and the data with the task's rewards", {**_MODEL, "replay": "relabel"}),
        (
            "model+policy+relabel",
            "model and actor copied, and the data with the task's rewards",
            {**_MODEL, "actor": "copy", "replay": "relabel"},
        ),
        (
            "rehearsal",
            "the model, and the data that begin near to the task, rehearsed",
            {**_MODEL, "replay": "retrieve"},
        ),
        (
            "guidance",
            "the model, and a policy cloned from such data, which begins episodes",
            {**_MODEL, "actor": "clone"},
        ),
    )
}
"""Name to one line of description and the plan. The reward head is fresh in all: the reward has changed."""


def parse_plan(text: str) -> TransferPlan:
    """Return a named plan, one with changes, or one spelled out.

    Args:
        text: `model+policy`; `model+policy,actor=freeze:5000`; `encoder=copy,dynamics=freeze:5000,...`.

    Raises:
        UserError: unknown names, or a plan that cannot mean anything.
    """
    first, *changes = text.split(",")
    if "=" in first:
        return TransferPlan(text, _spelled(text, text.split(",")))
    if first not in PLANS:
        raise unknown_name("plan", first, PLANS)
    named = PLANS[first][1]
    return TransferPlan(text, {**named.modes, **_spelled(text, changes)}) if changes else named


def _spelled(text: str, parts: Sequence[str]) -> dict[str, str]:
    """Modes by component, of parts such as `encoder=copy`."""
    modes: dict[str, str] = {}
    for part in parts:
        component, equals, mode = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f"Plan '{text}': write each part as component=mode, such as encoder=copy.")
        if component in modes:
            raise UserError(f"Plan '{text}' names the {component} twice.")
        modes[component] = mode
    return modes
