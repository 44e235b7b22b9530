"""What a suite of environments tells of itself, and how an id with options is read.

An id is `suite-task` (or just `suite`), and after commas the options that differ from their defaults:
`robodesk-stack,reward=sparse,render=fast`. The whole id stands in a run's config, so that no two settings
are ever mixed in one comparison.
"""

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from envs.captions.base import Captioner, not_captioned
from expedition.errors import UserError, unknown_name

Value = str | int | float | bool
Summarise = Callable[[Sequence[Mapping[str, Any]]], dict[str, float]]
Reachable = Callable[[str, Mapping[str, Any]], int | None]
Draw = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From one observation, entries by name, to its picture, uint8 (h, w, 3)."""

_WORDS: dict[str, bool] = {"true": True, "false": False}


def no_summary(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return no measures: for an environment whose return says it all."""
    return {}


def not_known(task: str, options: Mapping[str, Any]) -> None:
    """Return no number: for an environment that tells nothing, or nobody knows how much there is."""


def not_drawn(task: str, options: Mapping[str, Any]) -> None:
    """Return no function: for observations that hold pictures themselves, or cannot be drawn."""


@dataclass(frozen=True)
class Chart:
    """A place from above, and where in it lies what `info["reached"]` names.

    Attributes:
        name: what it is called, as `level 3`.
        picture: uint8 (h, w, 3), rows x columns cells that fill it evenly.
        rows: cells from top to bottom. columns: from left to right.
        cells: what is reached -> its (row, column).
    """

    name: str
    picture: np.ndarray
    rows: int
    columns: int
    cells: Mapping[str, tuple[int, int]]


def not_charted(task: str, options: Mapping[str, Any]) -> tuple[Chart, ...]:
    """Return no charts: for an environment that has no places, or too many of them."""
    return ()


@dataclass(frozen=True)
class Option:
    """A setting that is written into the id.

    Attributes:
        default: what holds where the id says nothing; its type is the option's type.
        help: one line, with the unit.
        choices: the values that are allowed; any where empty.
        least: the smallest number that is allowed.
    """

    default: Value
    help: str
    choices: tuple[Value, ...] = ()
    least: float | None = None

    def read(self, name: str, text: str) -> Value:
        """Return the value that `text` stands for.

        Raises:
            UserError: it is of another type, or not among the choices.
        """
        value = read_value(text)
        if isinstance(self.default, str):
            value = text
        elif isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(self.default):
            kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(self.default)]
            raise UserError(f"The option '{name}' must be {kind}, not '{text}'.")
        if self.choices and value not in self.choices:
            raise unknown_name(f"value of the option '{name}'", text, [str(x) for x in self.choices])
        if self.least is not None and not isinstance(value, str) and value < self.least:
            raise UserError(f"The option '{name}' must be at least {self.least:g}, not {text}.")
        return value


@dataclass(frozen=True)
class Task:
    """One environment of a suite: a sentence, and its spaces in words at the default options."""

    description: str
    observation: str
    action: str


@dataclass(frozen=True)
class Suite:
    """Environments that come from one package or one file.

    Attributes:
        name: the first part of every id.
        tasks: by the second part of the id; "" where the suite is one environment.
        build: (task, all options, image size in pixels) -> environment. Imports the packages itself.
        options: by name.
        packages: names to import that must be there.
        extra: the extra of this project that brings them.
        install: the command that brings them, where the extra is not the whole of it.
        snapshot: whether an episode repeats exactly under its seed and actions.
        slow: whether a step costs so much more than passing it between processes that workers pay off.
        slow_reset: whether a reset takes so long that workers begin next episodes ahead of time.
        summarise: from episode summaries (`VectorEnv.pop_episodes`) to the suite's measures.
        reachable: (task, all options) -> how many names `info["reached"]` can hold in all, if known.
        draw: (task, all options) -> what draws an observation of symbols, whichever numbers of its spaces a
            model dreams up; it imports the packages at its first call. None where there is no such thing.
        charts: (task, all options) -> its places from above, where they are few and stay as they are.
        captions: (task, all options) -> who tells in words what happens; None where nobody can.
        limit: the package's steps after which an episode is cut off, where no option `limit` says it.
    """

    name: str
    tasks: Mapping[str, Task]
    build: Callable[[str, Mapping[str, Any], int], gymnasium.Env[Any, Any]]
    options: Mapping[str, Option] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    extra: str | None = None
    install: str | None = None
    snapshot: bool = True
    slow: bool = False
    slow_reset: bool = False
    summarise: Summarise = no_summary
    reachable: Reachable = not_known
    draw: Callable[[str, Mapping[str, Any]], Draw | None] = not_drawn
    charts: Callable[[str, Mapping[str, Any]], Iterable[Chart]] = not_charted
    captions: Callable[[str, Mapping[str, Any]], Captioner | None] = not_captioned
    limit: int | None = None

    def id(self, task: str) -> str:
        """Return the id of a task."""
        return f"{self.name}-{task}" if task else self.name

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def read_options(self, given: Mapping[str, str]) -> dict[str, Value]:
        """Return every option's value, `given` ones over the defaults.

        Raises:
            UserError: an option is not known or its value is not allowed.
        """
        for name in given:
            if name not in self.options:
                if not self.options:
                    raise UserError(f"Environments of '{self.name}' have no options: leave out '{name}'.")
                raise unknown_name(f"option of {self.name}", name, self.options)
        read = {name: self.options[name].read(name, text) for name, text in given.items()}
        return {name: option.default for name, option in self.options.items()} | read

    def cut_off(self, options: Mapping[str, Any]) -> int | None:
        """Return the steps after which an episode is cut off under all these options, if known."""
        limit = options.get("limit", self.limit)
        return -(-limit // options.get("action_repeat", 1)) if isinstance(limit, int) else None

    def make(self, task: str, given: Mapping[str, str], image_size: int) -> gymnasium.Env[Any, Any]:
        """Make one environment.

        Raises:
            UserError: a package is missing, or an option or the image size does not fit.
        """
        options = self.read_options(given)
        lacking = self.missing()
        if lacking:
            raise UserError(
                f"Environment '{self.id(task)}' needs packages that are not installed "
                f"({', '.join(lacking)}): run `{self.how_to_install}`."
            )
        return self.build(task, options, image_size)

    @property
    def how_to_install(self) -> str:
        """The command that brings the packages."""
        wanted = f"'expedition[{self.extra}]'" if self.extra else " ".join(self.packages)
        return self.install or f"pip install {wanted}"


def split_id(env_id: str) -> tuple[str, dict[str, str]]:
    """Split "name,option=value,..." into the name and the options as text.

    Raises:
        UserError: an option has no value, or stands twice.
    """
    name, *parts = env_id.split(",")
    options: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (equals and key and value) or key in options:
            problem = f"gives '{key}' twice" if key in options else f"has '{part}' after a comma"
            raise UserError(f"Environment '{env_id}' {problem}: write {name},option=value.")
        options[key] = value
    return name, options


def with_options(env_id: str, options: str) -> str:
    """Return an id with `options`, such as "size=1.5,limit=50", laid over its own; they come last.

    Raises:
        UserError: an option has no value, or stands twice.
    """
    name, own = split_id(env_id)
    _, laid = split_id(f"{name},{options}")
    kept = {key: value for key, value in own.items() if key not in laid}
    return ",".join([name, *(f"{key}={value}" for key, value in (kept | laid).items())])


def read_value(text: str) -> Value:
    """Return the bool, int or float that `text` stands for, else the text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
