"""The command that makes one run of a study again by itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from expedition.errors import UserError
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import RANDOM, RunRecord
from experiments.settings import (
    agent_preset,
    finetune_preset,
    flattened,
    overlay,
    ppo_preset,
    training_preset,
    with_settings,
)
from training import to_dict

AGAIN = "again"
"""Folder, within the study's, where a run is made again."""


def commands(study: StudyRecord) -> dict[str, str]:
    """Return run id -> its command, to be typed in the study's folder; of runs that have begun.

    The random policy has none: only a study measures it.
    """
    configs = {run.id: run.config() for run in study.runs}
    found = {}
    for run in study.runs:
        config = configs[run.id]
        if not config or run.kind == RANDOM:
            continue
        try:
            words = _words(run, config, configs.get(run.needs or "", {}))
        except (KeyError, UserError):  # settings of another version of Expedition
            continue
        found[run.id] = shlex.join(["expedition", *words, "--out", f"{AGAIN}/{run.id}"])
    return found


def _words(run: RunRecord, config: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    told = ["--env", config["env"], "--steps", str(config["steps"]), "--seed", str(config["seed"])]
    size = str(config["size"])
    if run.kind == "ppo":
        return ["baseline", "ppo", *told, *_of_ppo(config)]
    agent, training = agent_preset(size), training_preset(size)
    if run.phase == "pretrain":
        told += ["--intrinsic", config["intrinsic"], "--size", size]
        if run.data:
            told += ["--data", *(f"{source}={weight}" for source, weight in run.data.items())]
        return ["pretrain", *told, *_flags("agent", config, agent), *_flags("training", config, training)]
    if run.needs is not None:
        agent = overlay(agent, source["agent"])
        training = overlay(training, {**source["training"], "offline_updates": 0})
        told += ["--from", run.needs]
    else:
        told += ["--size", size]
    agent = with_settings(agent, finetune_preset(size))
    told += ["--plan", run.plan or "scratch"]
    return ["finetune", *told, *_flags("agent", config, agent), *_flags("training", config, training)]


def _of_ppo(config: Mapping[str, Any]) -> Iterator[str]:
    training = config["training"]
    names = {"num_envs": "num-envs", "evaluation_episodes": "episodes", "image_size": "image-size"}
    for name, flag in names.items():
        yield from (f"--{flag}", str(training[name]))
    yield from _flags("ppo", config["agent"], ppo_preset(config["env"], config["steps"]))


def _flags(group: str, config: Mapping[str, Any], base: Any) -> Iterator[str]:
    """Flags for the settings of a group in which a run differs from what its command begins with."""
    usual = flattened(to_dict(base, whole=True))
    for name, value in flattened(config[group]).items():
        if name in usual and value != usual[name]:
            yield from _flag(f"{group}.{name}".replace("_", "-"), value)


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        parts, _, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{parts}.no-{last}"]
    words = value if isinstance(value, list) else [value]
    return [f"--{name}", *map(str, words)]
