"""Commands that train nothing: they look at runs and studies, write them out, and check what one has."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from expedition.errors import unknown_name
from expedition.ranges import within

# What needs torch is imported where it is used, so that help and a mistyped command answer at once.
if TYPE_CHECKING:
    from experiments.command_line.commands import (
        CheckEnv,
        Compare,
        Evaluate,
        Export,
        ExportData,
        ListCommand,
        Report,
        Status,
        Sync,
    )
    from experiments.launchers.status import RunStatus

WATCH_SECONDS = 2.0
CLEAR = "\x1b[H\x1b[J"
"""Tells a terminal to begin again at its top."""


def evaluate(command: Evaluate) -> int:
    """Print how the policy in a run's newest checkpoint does."""
    from experiments.command_line.telling import told_evaluation
    from training import evaluate_run, prepare_process
    from training.storage.hub import located

    within(command, "", "episodes", least=1)
    within(command, "", "seed", least=0)
    prepare_process(0)
    summary = evaluate_run(located(command.source), command.episodes, command.seed, command.device)
    print(json.dumps(summary) if command.json else told_evaluation(summary))
    return 0


def export_data(command: ExportData) -> int:
    """Write a run's replay as a dataset."""
    from experiments.command_line.telling import told_export
    from transfer.data.export import export_data

    print(told_export(command.dataset, export_data(command.folder, command.dataset)))
    return 0


def export(command: Export) -> int:
    """Write a run into a folder to share."""
    from experiments.sharing import export as sharing

    sharing.export(command.run, command.out, command.replay)
    print(f"{command.out} can be shared; its README.md says how it is used.")
    return 0


def status(command: Status) -> int:
    """Print how far the runs of studies are."""
    from experiments.launchers.status import told_status

    while True:
        found = _statuses(command.folder)
        if command.json:
            plain = {folder: [dataclasses.asdict(run) for run in runs] for folder, runs in found.items()}
            print(json.dumps(plain))
        else:
            print(
                CLEAR * command.watch
                + "\n".join(line for each in found.items() for line in told_status(*each))
            )
        if not command.watch or all(run.state == "done" for runs in found.values() for run in runs):
            return 0
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def _statuses(place: str) -> dict[str, list[RunStatus]]:
    """The runs of the studies in a folder, or at an address."""
    from experiments.launchers.status import run_statuses, study_folders
    from training.storage.shared import is_address

    if is_address(place):
        from experiments.addresses.reading import statuses

        return statuses(place)
    return {str(folder): run_statuses(folder) for folder in study_folders(Path(place))}


def sync(command: Sync) -> int:
    """Send what was logged offline."""
    from experiments.launchers.sending import check_reach, find_unsent, send

    unsent = find_unsent(command.folder)
    if command.dry_run or not unsent:
        print("\n".join(part.told() for part in unsent) or "Nothing to send.")
        return 0
    check_reach(len(unsent))
    for part in unsent:
        send(part)
        print(f"sent  {part.told()}", flush=True)
    return 0


def report(command: Report) -> int:
    """Write a study's report again."""
    from experiments.reporting.publish import FILES, publish
    from training.storage.shared import is_address

    folder = _read_folder(command.folder)
    print(publish(folder, None))
    if is_address(command.folder):
        from experiments.addresses.reading import send_report

        send_report(command.folder, folder, FILES)
    return 0


def _read_folder(place: str) -> Path:
    """A study's folder as a report reads it."""
    from training.storage.shared import is_address

    if not is_address(place):
        return Path(place)
    from experiments.addresses.reading import read_folder

    return read_folder(place)


def compare(command: Compare) -> int:
    """Put the findings of studies side by side."""
    from experiments.reporting.page import compare as comparing

    found = comparing.compare([_read_folder(place) for place in command.folders])
    comparing.write_comparison(found, command.out)
    print(f"{comparing.told_comparison(found)}\n\ncompare.html and compare.csv in\n{command.out}")
    return 0


def list_known(command: ListCommand) -> int:
    """Print what there is."""
    from experiments.command_line.catalogue import catalogue, format_catalogue

    found = catalogue()
    if command.kind != "all":
        if command.kind not in found:
            raise unknown_name("kind", command.kind, [*found, "all"])
        found = {command.kind: found[command.kind]}
    print(json.dumps(found, indent=1) if command.json else format_catalogue(found))
    return 0


def check_env(command: CheckEnv) -> int:
    """Print whether an environment keeps its promises; 1 if it does not."""
    from envs.conformance import check

    within(command, "", "steps image_size", least=1)
    within(command, "", "seed", least=0)
    words = {True: "ok", False: "FAILED", None: "-"}
    findings = []
    for finding in check(command.env, steps=command.steps, seed=command.seed, image_size=command.image_size):
        findings.append(finding)
        if not command.json:
            print(f"{finding.name:<22} {words[finding.passed]:<7} {finding.detail}", flush=True)
    failed = [finding.name for finding in findings if finding.passed is False]
    if command.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    if failed:
        print(f"expedition: '{command.env}' failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0
