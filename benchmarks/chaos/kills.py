"""A study whose processes are killed at random moments, beside the same study left alone."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.chaos.alike import run_differences
from benchmarks.chaos.processes import Cluster, Running, cluster, end, told, wait_for
from benchmarks.chaos.record import Section, Short, counted
from benchmarks.chaos.tiny import AGENT, MACHINE, TRAINING

STEPS = 3_000
LONGEST = 6.0
"""Seconds that a kill comes at most after the one before is borne and a run is under way again."""
ON_RAY = 0.4
"""Share of the kills that a study on Ray gets."""


def kills(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> Section:
    """Kill `count` processes of studies on this machine and on Ray; compare each study with the calm one."""
    rng, study = random.Random(seed), _study(folder)
    calm = folder / "calm"
    said = Running(_command(study, calm), folder / "calm-log").ended(900)
    if said.code != 0:
        raise SystemExit(f"The calm study did not end well: {said.err}")
    with cluster() as nodes:
        on_ray = 0 if nodes is None else round(ON_RAY * count)
        disturbed = Disturbed(study, folder, rng, say)
        disturbed.spend(count - on_ray, None)
        disturbed.spend(on_ray, nodes)
    short = []
    for out in disturbed.studies:
        short += [Short(f"--seed {seed}, study {out.name}", each) for each in compared(calm, out)]
    short += [Short(f"--seed {seed}", each) for each in disturbed.failures]
    where = "without" if nodes is None else "also on"
    what = f"kills in {len(disturbed.studies)} studies, {where} Ray, seed {seed}"
    return Section("kills", len(disturbed.victims), what, tuple(short), counted(disturbed.victims))


def _study(folder: Path) -> Path:
    """Phase 1 and two conditions, which save every half second."""
    training = {**TRAINING, "train_ratio": 1.0, "log_every": 100, "checkpoint_seconds": 0.5}
    values: dict[str, Any] = {
        "base": "quickstart-crafter",
        "name": "chaos",
        "env": "catch-vector",
        "pretrain_steps": STEPS,
        "finetune_steps": STEPS,
        "conditions": ["scratch", "model"],
        "seeds": 1,
        "agent": AGENT,
        "pretrain": training,
        "finetune": training,
    }
    path = folder / "chaos.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return path


def _command(study: Path, out: Path, nodes: Cluster | None = None) -> list[str]:
    place = [] if nodes is None else ["--launcher", f"ray,address={nodes.address}"]
    return ["study", str(study), "--jobs", "2", "--retries", "1000", *MACHINE, *place, "--out", str(out)]


class Disturbed:
    """Studies one after the other, until so many kills are spent.

    Attributes:
        victims: what was killed.
        studies: folders of the studies that ended.
        failures: studies that did not end well.
    """

    def __init__(self, study: Path, folder: Path, rng: random.Random, say: Callable[[str], None]) -> None:
        self.study, self.folder, self.rng, self.say = study, folder, rng, say
        self.victims: list[str] = []
        self.studies: list[Path] = []
        self.failures: list[str] = []

    def spend(self, count: int, nodes: Cluster | None) -> None:
        """Spend kills on studies here, or on Ray's nodes."""
        left = count
        while left > 0:
            out = self.folder / f"disturbed-{len(self.studies)}"
            self.studies.append(out)
            left -= self._spend_on(out, left, nodes)

    def _spend_on(self, out: Path, most: int, nodes: Cluster | None) -> int:
        """Run one study to its end, and kill what belongs to it on its way; returns how many kills it got."""
        running, spent = self._begin(out, nodes), 0
        while spent < most and _under_way(out, running):
            time.sleep(self.rng.uniform(0, LONGEST))
            if running.process.poll() is not None:
                break
            victim = self._kill(out, running, nodes)
            if victim is None:
                continue
            self.victims.append(victim)
            self.say(f"  {out.name}: {victim} killed")
            spent += 1
            if victim == "launcher":
                running.process.wait()
                running = self._begin(out, nodes)
        said = running.ended(900)
        if said.code != 0:
            self.failures.append(f"{out.name} ended with {said.code}: {said.sentence}")
            return most  # what is broken is not broken further
        return spent

    def _begin(self, out: Path, nodes: Cluster | None) -> Running:
        return Running(_command(self.study, out, nodes), self.folder / out.name)

    def _kill(self, out: Path, running: Running, nodes: Cluster | None) -> str | None:
        """Kill one process; None where there is none of its kind at the moment."""
        victim = self.rng.choice(["launcher", "worker", "worker"] + ["node"] * (0 if nodes is None else 3))
        if victim == "node" and nodes is not None:
            nodes.lose(self.rng)
        elif victim == "launcher":
            end(running.process.pid)
        else:
            working = sorted(_workers(out))
            if not working:
                return None
            end(self.rng.choice(working))
        return victim


def _workers(out: Path) -> Iterator[int]:
    """Processes that carry out runs of a study, here or for Ray."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            command = told(int(entry.name))
            if "experiments.launchers.worker" in command and f"{out}/" in command:
                yield int(entry.name)


def _under_way(out: Path, running: Running) -> bool:
    """Wait until a run is learning; False if the study ends first."""
    wait_for(lambda: running.process.poll() is not None or any(_workers(out)))
    return running.process.poll() is None


def compared(calm: Path, out: Path) -> list[str]:
    """In what the runs of a study differ from those of the calm one."""
    found = []
    for path in sorted(calm.glob("*/result.json")):
        name = path.parent.name
        if not (out / name / "result.json").exists():
            found.append(f"run {name} is lost")
        elif other := run_differences(path.parent, out / name):
            found.append(f"run {name} differs in {', '.join(other)}")
    return found
