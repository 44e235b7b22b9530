"""Which of the rewards that phase 1 recorded is the one of the task that phase 2 trains on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from envs import environment_info
from envs.suite import split_id
from expedition.errors import UserError, unknown_name

OWN = "reward"
"""Recorded name of the explored environment's own reward."""


def recorded_reward(source: str, env: str, recorded: Collection[str], asked: str | None) -> str:
    """Return the recorded name of the reward that `env` pays.

    The environment that was explored pays `reward`. Another task of its suite is recorded by its name, which
    is what its id has beyond the id of the explored one: `collect` of mazes-collect beside mazes-goal, `run`
    of dmc-walker-run beside dmc-walker-walk. Options may change what is paid, so they must be equal; who
    knows better names the reward.

    Args:
        source: id of the environment that was explored.
        env: id of the environment of phase 2.
        recorded: names of the recorded rewards, without the prefix `task/`.
        asked: the name that the plan gives; None to find it.

    Raises:
        UserError: no such reward was recorded, or options differ.
    """
    if asked is not None:
        if asked not in recorded:
            raise unknown_name("recorded reward", asked, sorted(recorded))
        return asked
    name = OWN if _name(source) == _name(env) else _beyond(_name(source), _name(env))
    known = f"(recorded are: {', '.join(sorted(recorded))})"
    if name not in recorded:
        raise UserError(
            f"Exploring '{source}' recorded no reward of '{env}': fine-tune on a task whose reward was "
            f"recorded, or name the one that is meant with replay=relabel:NAME {known}."
        )
    if _options(source) != _options(env):
        raise UserError(
            f"The rewards recorded on '{source}' are those of its options, not of '{env}': if they pay the "
            f"same, name the one that is meant with replay=relabel:NAME {known}."
        )
    return name


def _name(env_id: str) -> str:
    return split_id(env_id)[0]


def _beyond(source: str, name: str) -> str:
    """What `name` has beyond the parts, between dashes, that it begins with as `source` does."""
    parts = name.split("-")
    for other in source.split("-"):
        if len(parts) == 1 or parts[0] != other:
            break
        parts.pop(0)
    return "-".join(parts)


def _options(env_id: str) -> dict[str, Any]:
    """Every option's value, those that the id leaves out included."""
    options = environment_info(env_id).options
    given = split_id(env_id)[1]
    return {name: option.default for name, option in options.items()} | {
        name: options[name].read(name, text) if name in options else text for name, text in given.items()
    }
