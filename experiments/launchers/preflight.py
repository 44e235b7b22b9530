"""Refuse a study's runs before any begins: what the last would refuse is known once environments are made.

`python -m experiments.launchers.preflight CHECKLIST.json` looks in a process of its own, since a user's
environment may hang or take its process with it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from envs import make_vector
from expedition import UserError
from experiments.studies.runs import PlannedRun
from training import Logistics, RunConfig, from_dict, prepare_process, to_dict
from training.baselines.ppo import need_baselines
from training.collecting.collector import goals_of, row_spec
from training.judging.beyond import check_beyond
from training.session import build_agent, build_replay
from training.spaces import SPACES, describe_spaces
from training.storage.state_tree import publish_json
from transfer.data.pretraining import check_same_spaces
from transfer.fitting import check_spaces
from transfer.plan import parse_plan

PATIENCE = 300.0
"""Seconds after which runs begin unlooked at."""
REFUSED = 2
"""Exit code of a process that wrote why."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run as it will begin, with the run of phase 1 that it carries from, and those that it learns from."""

    name: str
    config: RunConfig
    plan: str | None = None
    source: RunConfig | None = None
    data: tuple[RunConfig, ...] = ()


@dataclasses.dataclass(frozen=True)
class Checklist:
    """What the process is told: each kind of run once."""

    entries: tuple[Entry, ...]
    logistics: Logistics


def preflight(
    begun: Sequence[PlannedRun],
    runs: Sequence[PlannedRun],
    logistics: Logistics,
    say: Callable[[str], None],
    patience: float = PATIENCE,
) -> None:
    """Refuse what a run would refuse as it begins.

    Args:
        begun: the runs that are to begin.
        runs: all of the study, among which are those that others wait for.
        logistics: of the runs.
        say: told if environments could not be looked at; each run then tells by itself.
        patience: seconds that looking may take.

    Raises:
        UserError: naming the run, with the sentence that it would have ended with.
    """
    entries = _entries(begun, {run.id: run.config for run in runs})
    if not entries:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checklist.json"
        publish_json(path, to_dict(Checklist(entries, dataclasses.replace(logistics, workers=0))))
        command = [sys.executable, "-m", "experiments.launchers.preflight", str(path)]
        try:
            looked = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            say(f"  Nothing was looked at before it begins: environments took over {patience:g} s to make.")
            return
    words = looked.stderr.decode(errors="replace").strip().splitlines()
    if looked.returncode == REFUSED:
        raise UserError(f"Nothing was started. {words[-1].removeprefix('ERROR ')}")
    if looked.returncode:
        why = (words or [f"it ended with code {looked.returncode}"])[-1].rstrip(".")
        say(f"  Nothing was looked at before it begins ({why}).")


def _entries(begun: Sequence[PlannedRun], configs: dict[str, RunConfig]) -> tuple[Entry, ...]:
    """Each kind of run once, whatever its seed."""
    found: dict[Entry, None] = {}
    for run in begun:
        there = [dataclasses.replace(configs[each], seed=0) for each in run.waits_for]
        source = there.pop() if run.needs is not None else None
        config = dataclasses.replace(run.config, seed=0)
        found[Entry(run.kind, config, run.plan, source, tuple(there))] = None
    return tuple(found)


def look(entry: Entry, logistics: Logistics) -> None:
    """Make what a run makes before its first step, and ask what it would ask.

    Raises:
        UserError: it would refuse to begin.
    """
    config, source = entry.config, entry.source
    here = _begin(config)
    check_beyond(config, logistics)
    goals_of(config)
    if source is not None and entry.plan is not None:
        objects = source.agent.model.objects.kind
        check_spaces(parse_plan(entry.plan), source.env, {SPACES: _begin(source)}, here, objects)
    for each in entry.data:
        check_same_spaces(f"of {each.env}", _begin(each), config.env, here)


@functools.cache
def _begin(config: RunConfig) -> Mapping[str, Any]:
    """Make a run's environment, and a learner's agent and replay; returns the spaces."""
    envs = make_vector(config.env, 1, image_size=config.training.image_size)
    try:
        if config.agent.kind == "ppo":
            need_baselines()
        elif config.agent.kind != "random":
            agent = build_agent(config, envs, torch.device("cpu"))
            build_replay(config, row_spec(envs, agent, config.phase == "finetune"))
        return describe_spaces(envs.observation_space, envs.action_space)
    finally:
        envs.close()


def main() -> int:
    """Look at the entries in the file named on the command line; the exit code tells whether one refuses."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    checklist = from_dict(Checklist, json.loads(Path(sys.argv[1]).read_text()))
    prepare_process(1)
    for entry in checklist.entries:
        try:
            look(entry, checklist.logistics)
        except UserError as error:
            _log.error("The run '%s' could not begin: %s", entry.name, error)
            return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
