"""From a command line to a command: presets first, then its file, then its flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from expedition import UserError
from experiments.command_line.commands import (
    COMMANDS,
    DEFAULT_SIZE,
    Baseline,
    Finetune,
    Machine,
    Pretrain,
    Train,
    shortened,
)
from experiments.settings import (
    agent_preset,
    finetune_preset,
    overlay,
    ppo_preset,
    read_settings,
    training_preset,
    with_settings,
)
from transfer.data.sources import source_env
from transfer.loader import source_config


def parse(name: str, arguments: list[str]) -> Any:
    """Build a command from its presets, then its file, then its flags.

    Raises:
        UserError: a bad file or preset.
        SystemExit: tyro's own, with code 2, for flags that it does not know; code 0 after help.
    """
    kind = COMMANDS[name]
    short = "--help" in arguments or "-h" in arguments
    try:
        default = _default(kind, arguments)
    except UserError:
        if not short and "--help-all" not in arguments:
            raise
        default = None  # whoever asks for help gets it
    if short:
        kind = shortened(kind)
        default = None if default is None else kind(**_shallow(default))
    arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
    options = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"expedition {name}", args=arguments, **options)


def _shallow(command: Any) -> dict[str, Any]:
    return {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}


def _default(kind: type, arguments: list[str]) -> Any:
    """The command before its flags: presets of the size asked for, or the source run's settings."""
    file = _peek(arguments, "--config")
    values = _grouped(read_settings(Path(file))) if file is not None else {}
    if kind is Pretrain:
        return overlay(_of_data(_preset(kind, arguments, values), arguments, values), values)
    if kind is Train:
        return overlay(_preset(kind, arguments, values), values)
    if kind is Baseline:
        steps = _peek(arguments, "--steps") or ""
        budget = int(steps) if steps.isdecimal() else Baseline.steps
        return Baseline(ppo=ppo_preset(_peek(arguments, "--env") or Baseline.env, budget))
    if kind is Finetune:
        return overlay(_carrying(arguments, values), values)
    return None


def _preset(kind: type, arguments: list[str], values: dict[str, Any]) -> Any:
    """A command with the presets of its phase and size, which a flag, a file or the command itself names."""
    size = _peek(arguments, "--size")
    size = str(values.get("size", DEFAULT_SIZE)) if size is None else size
    own = () if kind is Pretrain else finetune_preset(size)
    return kind(size=size, agent=with_settings(agent_preset(size), own), training=training_preset(size))


def _of_data(command: Pretrain, arguments: list[str], values: dict[str, Any]) -> Pretrain:
    """Pre-training on data of others, where such are named: no steps, in the environment of the first."""
    listed = values.get("data")
    given = _peek(arguments, "--data") or (listed[0] if isinstance(listed, list) and listed else None)
    if given is None:
        return command
    return dataclasses.replace(command, env=source_env(str(given)) or "", steps=0)


def _carrying(arguments: list[str], values: dict[str, Any]) -> Finetune:
    """Fine-tuning with its source's settings, but for phase 2's own; without a source, with its size's."""
    source = _peek(arguments, "--from")
    source = values.pop("from", None) if source is None else source
    if source is None:
        return _preset(Finetune, arguments, values)
    found = source_config(str(source))
    agent = with_settings(found.agent, finetune_preset(found.size))
    training = dataclasses.replace(found.training, offline_updates=0)  # phase 1's were on data of its own
    return Finetune(str(source), size=found.size, agent=agent, training=training)


def _grouped(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, whose `device` and the like stand at the top as their flags do."""
    names = {field.name for field in dataclasses.fields(Machine)}
    machine = {key: values.pop(key) for key in list(values) if key in names}
    return {**values, "machine": machine} if machine else values


def _peek(arguments: list[str], flag: str) -> str | None:
    """The value of a flag, read before the others because they depend on it."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == flag and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found
