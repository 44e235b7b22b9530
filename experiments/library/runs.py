"""Runs and studies started by a program: the same as those of the command line, in the same folders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.launchers.keeping import keeper_of
from experiments.launchers.launcher import Launcher
from experiments.launchers.worker import carry_out
from experiments.library.explorer import Explorer, load
from experiments.reporting.publish import FILES, publish
from experiments.settings import agent_preset, finetune_preset, overlay, training_preset, with_settings
from experiments.studies.presets import find_study
from training import Logistics, RunConfig
from training.storage.folder import read_json
from transfer.loader import Source, open_source

Settings = Mapping[str, Any]
"""Settings by name, nested as in a run's `config.json`, laid over the presets."""
NONE: Settings = {}

_log = logging.getLogger(__name__)


def pretrain(
    out: str | Path,
    *,
    env: str,
    steps: int,
    intrinsic: str = "disagreement",
    size: str = "12m",
    seed: int = 0,
    agent: Settings = NONE,
    training: Settings = NONE,
    device: str = "auto",
    wandb: str = "off",
) -> Explorer:
    """Explore without reward, or go on with the run in `out`: `expedition pretrain`.

    Args:
        out: folder of the run.
        env: id of the environment, or `module:Name-v0` of your own.
        steps: environment steps.
        intrinsic: name of the intrinsic reward, or `module:Class` of your own.
        size: of the world model.
        seed: of weights, samples and environments.
        agent: settings of the agent that differ from its size's.
        training: the same of collecting, replay and judging.
        device: auto, cpu or cuda.
        wandb: off, auto, offline or online.

    Raises:
        UserError: whatever a user can mend.
        SystemExit: the run was stopped by Ctrl-C or a signal, and saved.
    """
    config = RunConfig(
        env,
        "pretrain",
        intrinsic,
        size,
        steps,
        seed,
        overlay(agent_preset(size), agent),
        overlay(training_preset(size), training),
    )
    return _carried_out(config, Path(out), None, None, device, wandb)


def finetune(
    source: str | Path,
    out: str | Path,
    *,
    steps: int,
    plan: str = "model+policy",
    env: str | None = None,
    seed: int = 0,
    agent: Settings = NONE,
    training: Settings = NONE,
    device: str = "auto",
    wandb: str = "off",
) -> Explorer:
    """Carry components of an explorer into a task with its reward: `expedition finetune`.

    Args:
        source: folder of the pre-training run, or of an exported one, or `hf:OWNER/NAME`.
        out: folder of the new run.
        steps: environment steps.
        plan: what is carried.
        env: id of the task; None for the environment that was explored.
        seed: of fresh weights, samples and environments.
        agent: settings of the agent that differ from the source's.
        training: the same of collecting, replay and judging.
        device: auto, cpu or cuda.
        wandb: off, auto, offline or online.

    Raises:
        UserError: whatever a user can mend.
        SystemExit: the run was stopped by Ctrl-C or a signal, and saved.
    """
    opened = open_source(source)
    found = opened.config
    config = RunConfig(
        env or found.env,
        "finetune",
        None,
        found.size,
        steps,
        seed,
        overlay(with_settings(found.agent, finetune_preset(found.size)), agent),
        overlay(found.training, training),
    )
    return _carried_out(config, Path(out), plan, opened, device, wandb)


def run_study(
    study: str | Path | Settings,
    out: str | Path,
    *,
    jobs: int = 0,
    device: str = "auto",
    wandb: str = "off",
) -> dict[str, Any]:
    """Run a whole study, or what is left of it, and report: `expedition study`.

    Args:
        study: name of one, path of a file, or what would stand in the file, `base` among it.
        out: folder of the study, or its address (`s3://bucket/study`).
        jobs: runs at a time, each in a process of its own; 0 for one a core.
        device: auto, cpu or cuda.
        wandb: off, auto, offline or online.

    Returns:
        What stands in its `summary.json` (docs/reading.md).

    Raises:
        UserError: whatever a user can mend, runs that failed among it.
        SystemExit: the study was stopped by Ctrl-C or a signal; its runs have saved.
    """
    name, settings = (str(study), {}) if isinstance(study, str | Path) else ("quickstart", dict(study))
    if not isinstance(study, str | Path):
        settings = {"name": Path(out).name, **settings}
    base, budget = str(settings.pop("base", name)), settings.pop("budget", None)
    found = find_study(base, budget, settings)
    logistics = Logistics(device=device, wandb=wandb)
    keeper = keeper_of(out, _log.info)
    launcher = Launcher(found, keeper, jobs, logistics, f"expedition.run_study({base!r}, ...)", _log.info)
    launcher.announce()
    code = launcher.run()
    if code:
        raise SystemExit(code)
    publish(keeper.folder, launcher.logistics)
    keeper.check_sent(FILES)
    return read_json(keeper.folder / "summary.json", "run the study again")


def _carried_out(
    config: RunConfig, out: Path, plan: str | None, source: Source | None, device: str, wandb: str
) -> Explorer:
    """Carry a run out, and load what it learned."""
    logistics = Logistics(device=device, wandb=wandb)
    outcome = carry_out(config, out, logistics, plan, source, _log.info)
    if outcome.result is None:
        raise SystemExit(outcome.exit_code)
    return load(out, device)
