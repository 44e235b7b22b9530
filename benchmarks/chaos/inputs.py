"""Wrong command lines and files by chance: a fuzzer over the typed commands and their settings."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
import shlex
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.chaos.tiny import AGENT, MACHINE, TRAINING, settings_file
from experiments.command_line.commands import COMMANDS

NUMBERS = "|three|1.5|-1|0|nan|inf|-inf|1e400|1e30|-99999999999999999999|99999999999999999999|0x10|1,5|true"
TEXTS = "| |no-such|a,b=c|catch-vector,size=0|catch-vectr|modle+policy|ünïcode|json:Name-v0|:|,|=|%s|{}|none"
VALUES: dict[type, tuple[str, ...]] = {
    int: tuple(NUMBERS.split("|")),
    float: (*NUMBERS.split("|"), "1e-400", "-0.5"),
    str: (*TEXTS.split("|"), "x" * 5000, "ray,adress=auto", "slurm,gpus=many", "ray,cpus=-1"),
    bool: ("maybe", "", "2"),
    Path: ("", "no/such", "file.txt", "folder", "x" * 5000, "file.txt/below", "/dev/null", "/proc/none"),
}
"""Texts to stand behind a flag of each type."""
YAML_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    10**20,
    float("nan"),
    float("inf"),
    "",
    "three",
    [],
    [1, "two"],
    {},
    {"a": {"b": 1}},
    datetime.date(2020, 1, 1),
)
TEXT_FILES: tuple[bytes, ...] = (
    b"",
    b"- a\n- b\n",
    b"just words",
    b"steps:\t10\n\tseed: 1",
    b"a: &a [*a]",
    b"a: &a\n  b: *a",
    b"steps: !!python/object:os.system x",
    b"steps: 1\nsteps: [",
    b"\xff\xfe\x00\x01",
    b"1: 2\nnull: 3",
    b"? [a, b]\n: c",
    b"{" * 2000,
)
"""Files that hold no settings."""


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a command and the type of its value."""

    name: str
    kind: Any


@dataclasses.dataclass(frozen=True)
class Case:
    """A wrong input: what was done to it, and its command line."""

    what: str
    arguments: tuple[str, ...]

    @property
    def again(self) -> str:
        """Its command line; of a long word the beginning."""
        words = (word if len(word) < 80 else f"{word[:40]}...{len(word)}" for word in self.arguments)
        return shlex.join(["expedition", *words])


def lines(folder: Path) -> dict[str, list[str]]:
    """A valid command line of each command, which ends in seconds; runs stand in `folder`/run."""
    settings, run = str(settings_file(folder)), str(folder / "run")
    short = ["--steps", "40", *MACHINE, "--out", "out"]
    return {
        "pretrain": ["--config", settings, *short],
        "train": ["--config", settings, *short],
        "finetune": ["--from", run, "--plan", "model", *short],
        "baseline": ["ppo", "--env", "catch-vector", "--ppo.rollout", "16", "--episodes", "2", *short],
        "study": [str(_study_file(folder)), "--seeds", "1", "--plan-only", *MACHINE, "--out", "out"],
        "evaluate": ["--from", run, "--episodes", "2"],
        "export-data": [run, "chaos/data-v0"],
        "export": [run, "out"],
        "status": [str(folder)],
        "report": [str(folder)],
        "list": ["plans"],
        "check-env": ["catch-vector", "--steps", "20"],
    }


STUDY: dict[str, Any] = {
    "base": "quickstart-crafter",
    "env": "catch-vector",
    "pretrain_steps": 40,
    "finetune_steps": 40,
    "conditions": ["scratch", "model"],
    "agent": AGENT,
    "pretrain": TRAINING,
    "finetune": TRAINING,
}
"""A study that ends in seconds."""


def _study_file(folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(json.dumps(STUDY))
    return path


def flags(kind: type, prefix: str = "") -> Iterator[Flag]:
    """The flags of a command, those of its groups too."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        plain, marks = _apart(hints[field.name])
        if any("Positional" in repr(mark) for mark in marks):
            continue
        given = [mark.name for mark in marks if getattr(mark, "name", None) is not None]
        name = given[0] if given else field.name
        if dataclasses.is_dataclass(plain):
            yield from flags(typing.cast(type, plain), f"{prefix}{name}." if name else prefix)
        else:
            yield Flag(f"--{prefix}{name}".replace("_", "-"), plain)


def _apart(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without what is annotated to it, and that."""
    marks = getattr(hint, "__metadata__", ())
    return (hint.__origin__, marks) if marks else (hint, ())


def _kind(hint: Any) -> type:
    """Of which kind a flag's texts are: those of the first type that is not None."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(option for option in typing.get_args(hint) if option is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint if hint in VALUES else str  # a Literal's are names


def wrong_value(rng: random.Random, command: str, line: Sequence[str]) -> Case:
    """A flag with a value out of its range or of another type."""
    flag = rng.choice(list(flags(COMMANDS[command])))
    value = rng.choice(VALUES[_kind(flag.kind)])
    return Case("a wrong value", (command, *line, f"{flag.name}={value}"))


def misspelt_flag(rng: random.Random, command: str, line: Sequence[str]) -> Case:
    """A flag with two letters changed for each other, one left out, or one twice."""
    name = rng.choice(list(flags(COMMANDS[command]))).name
    return Case("a misspelt flag", (command, *line, f"--{_misspelt(rng, name[2:])}", "1"))


def _misspelt(rng: random.Random, name: str) -> str:
    at = rng.randrange(len(name))
    ways = (name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], name[at:] + name[:at], name.upper())
    return rng.choice([way for way in ways if way != name] or [name + "x"])


def shortened(rng: random.Random, command: str, line: Sequence[str]) -> Case:
    """A command line cut off, or with one of its words left out, twice there, or empty."""
    at = rng.randrange(len(line))
    before, after = line[:at], line[at + 1 :]
    others = ([*before, *after], [*before, line[at], line[at], *after], [*before, "", *after])
    # What is cut off may be how short the run is: it is said again, and what makes it small stays.
    ways = [*others, line[: max(at, KEPT)]]
    return Case("words missing", (command, *rng.choice(ways), *SHORT.get(command, ())))


KEPT = 3
"""Words of a line that are not cut off: they name the file of tiny settings."""
SHORT = {
    "study": ("--plan-only",),
    **dict.fromkeys(("pretrain", "train", "finetune", "baseline"), ("--steps", "40")),
}
"""Words by which a command ends in seconds."""


def misspelt_command(rng: random.Random, command: str, line: Sequence[str]) -> Case:
    """A command that there is not."""
    return Case("a misspelt command", (_misspelt(rng, command), *line))


def wrong_file(rng: random.Random, command: str, line: Sequence[str]) -> Case:
    """A file of settings with a wrong key, a wrong value or wrong nesting, or that holds no settings."""
    own = {"env": "catch-vector", "size": "tiny", "steps": 40, "agent": AGENT, "training": TRAINING}
    content = STUDY if command == "study" else own
    if rng.random() < 0.2:
        text = rng.choice(TEXT_FILES)
        what = f"it is {text[:40]!r}"
    else:
        bent, what = _bent(rng, content)
        text = yaml.safe_dump(bent, allow_unicode=True).encode()
    path = Path(f"wrong-{rng.getrandbits(32):08x}.yaml")
    path.write_bytes(text)
    rest = [str(path), *line[1:]] if command == "study" else [*line, "--config", str(path)]
    return Case(f"a wrong file, {what}", (command, *rest))


def _bent(rng: random.Random, content: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Settings of which one has another name, another value, or stands elsewhere; and which, in words."""
    bent = json.loads(json.dumps(content))
    group = bent
    name = rng.choice(list(group))
    while isinstance(group[name], dict) and rng.random() < 0.7:
        group = group[name]
        name = rng.choice(list(group))
    way = rng.randrange(4)
    if way == 0:
        other = _misspelt(rng, name)
        group[other] = group.pop(name)
        return bent, f"{name} is called {other}"
    if way == 1:
        group[name] = {name: group[name]}
        return bent, f"{name} stands in a group {name}"
    if way == 2:
        other = rng.choice(["agent", "x"])
        bent[other] = group.pop(name)
        return bent, f"{name} is called {other} and stands at the top"
    group[name] = rng.choice(YAML_VALUES)
    return bent, f"{name} is {group[name]!r}"


WAYS: tuple[tuple[Callable[[random.Random, str, Sequence[str]], Case], int], ...] = (
    (wrong_value, 10),
    (wrong_file, 6),
    (misspelt_flag, 2),
    (shortened, 3),
    (misspelt_command, 1),
)
NAMES: dict[Callable[..., Case], tuple[str, ...]] = {
    wrong_value: tuple(name for name in COMMANDS if any(flags(COMMANDS[name]))),
    misspelt_flag: tuple(name for name in COMMANDS if any(flags(COMMANDS[name]))),
    wrong_file: ("pretrain", "train", "finetune", "study"),
}
"""Commands that a way can be tried on; all where none are said."""
WEIGHTS = {"pretrain": 4, "train": 3, "finetune": 4, "study": 4, "baseline": 2}
"""How often a command is taken; 1 where none is said."""


def wrong_case(rng: random.Random, folder: Path) -> Case:
    """A wrong input, of a command and of a kind that are drawn. Files are written to the working folder."""
    valid = lines(folder)
    (way,) = rng.choices([way for way, _ in WAYS], [weight for _, weight in WAYS])
    names = [name for name in valid if way not in NAMES or name in NAMES[way]]
    (command,) = rng.choices(names, [WEIGHTS.get(name, 1) for name in names])
    return way(rng, command, valid[command])
