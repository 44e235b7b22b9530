"""What befalls a run on its way: each ends in a clear state, is told in one sentence, and loses nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.chaos.alike import run_differences
from benchmarks.chaos.processes import Running, descendants, end, told, wait_for
from benchmarks.chaos.record import Section, Short
from benchmarks.chaos.tiny import AGENT, MACHINE, Said, settings_file
from benchmarks.chaos.worlds import BREAKS
from expedition import UserError
from training import open_checkpoint
from training.divergence import BATCH

STEPS = 2_000
SPACE = 8 * 2**20
"""Bytes of the small disk: enough for the whole run."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a disturbance is tried: a folder of its own, and the calm run."""

    folder: Path
    calm: Path

    def run(self, name: str = "run") -> Path:
        """Folder of a run."""
        return self.folder / name

    def arguments(self, run: Path, *more: str, machine: tuple[str, ...] = MACHINE, **agent: Any) -> list[str]:
        """The calm run's command line with another folder; keywords change the agent's groups."""
        path = settings_file(self.folder, train_ratio=1.0, log_every=100, checkpoint_seconds=0.3)
        values = json.loads(path.read_text())
        path.write_text(json.dumps({**values, "agent": {**AGENT, **agent}}))
        return ["pretrain", "--config", str(path), "--steps", str(STEPS), *machine, *more, "--out", str(run)]

    def begun(self, run: Path, *more: str, machine: tuple[str, ...] = MACHINE) -> Running:
        """A run that has saved on its way."""
        running = Running(self.arguments(run, *more, machine=machine), self.folder / "log")
        if not wait_for(lambda: bool(list(run.glob("checkpoint-*"))) or running.process.poll() is not None):
            running.kill()
        return running


def _refused(said: Said, run: Path, words: str) -> list[str]:
    """Why a run that had to stop did not end in a clear state."""
    why = [] if said.why is None else [said.why]
    if said.why is None and (said.code != 2 or words not in said.sentence):
        why.append(f"not told of '{words}' but ended with {said.code}: {said.sentence}")
    try:
        checkpoint = open_checkpoint(run)
        checkpoint.whole_files()
        for section in checkpoint.sections:
            checkpoint.load(section)
    except UserError as error:
        why.append(f"its last checkpoint does not load: {error}")
    return why


def _goes_on(place: Place, run: Path, same: bool = True, **how: Any) -> list[str]:
    """Why the same command does not go on to the end, or not to the calm run's."""
    said = Running(place.arguments(run, **how), place.folder / "again").ended()
    if said.code != 0:
        return [f"the same command does not go on: {said.code}, {said.sentence}"]
    other = run_differences(place.calm, run) if same else []
    return [f"it differs from the calm run in {', '.join(other)}"] if other else []


@contextlib.contextmanager
def _mounted(folder: Path, *how: str) -> Iterator[bool]:
    """Mount something on a folder; False where that isn't allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *how, str(folder)], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def full_disk(place: Place) -> list[str] | None:
    """Somebody else fills the disk."""
    disk = place.folder / "disk"
    with _mounted(disk, "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs") as mounted:
        if not mounted:
            return None
        run, filler = disk / "run", disk / "filler"
        running = place.begun(run)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        why = _refused(running.ended(), run, "free some space")
        filler.unlink()
        return why + _goes_on(place, run)


def read_only(place: Place) -> list[str] | None:
    """The run's folder can no longer be written: by its permissions, or for root by a mount over it."""
    run = place.run()
    if os.geteuid() != 0:
        running = place.begun(run)
        run.chmod(0o555)
        why = _refused(running.ended(), run, "make that folder writable")
        run.chmod(0o755)
        return why + _goes_on(place, run)
    running = place.begun(run)
    with _mounted(run, "--bind", str(run)) as mounted:
        if not mounted:
            running.kill()
            return None
        subprocess.run(["mount", "-o", "remount,bind,ro", str(run)], check=True, capture_output=True)
        why = _refused(running.ended(), run, "make that folder writable")
    return why + _goes_on(place, run)


def _logged(place: Place, run: Path, said: Said) -> list[str]:
    """Why a run that lost W&B is not what it would have been, or does not say so."""
    why = [] if said.code == 0 else [said.why or said.sentence]
    why += [] if "W&B" in said.err else ["it says nothing of W&B"]
    other = run_differences(place.calm, run)
    return why + ([f"it differs from the calm run in {', '.join(other)}"] if other else [])


def wandb_ends(place: Place) -> list[str]:
    """W&B's own process is ended."""
    run = place.run()
    running = place.begun(run, machine=("--wandb", "offline", *MACHINE[2:]))
    for pid in [pid for pid in descendants(running.process.pid) if "wandb-core" in told(pid)]:
        end(pid)
    return _logged(place, run, running.ended())


def wandb_unreachable(place: Place) -> list[str]:
    """W&B's server does not answer."""
    run = place.run()
    gone = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": "online"}
    arguments = place.arguments(run, machine=("--wandb", "auto", *MACHINE[2:]))
    return _logged(place, run, Running(arguments, place.folder / "log", gone).ended())


REWARD = "benchmarks.chaos.worlds:Unreliable"


def _unreliable(place: Place, run: Path, count: int) -> Said:
    how = {"options": ["first=50", f"count={count}"]}
    arguments = place.arguments(run, "--intrinsic", REWARD, intrinsic=how)
    return Running(arguments, place.folder / "log").ended()


def nan_in_losses(place: Place) -> list[str]:
    """No loss is a number from the 50th update on."""
    run = place.run()
    why = _refused(_unreliable(place, run, 10**6), run, "Training diverged")
    why += [] if (run / BATCH).exists() else ["the batch is not kept"]
    said = Running(["evaluate", "--from", str(run), "--episodes", "2"], place.folder / "log").ended()
    return why + ([] if said.code == 0 else [f"what was learned before is not evaluated: {said.sentence}"])


def nan_in_a_loss(place: Place) -> list[str]:
    """One loss is no number."""
    run = place.run()
    said = _unreliable(place, run, 1)
    if said.code != 0:
        return [said.why or said.sentence]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    skipped = max(line.get("skipped_updates", 0) for line in lines)
    return [] if skipped == 1 else [f"{skipped} updates are said to be skipped"]


def _fragile(place: Place, what: str) -> list[str]:
    run, world = place.run(), "benchmarks.chaos.worlds:Fragile-v0"
    arguments = place.arguments(run, "--env", world)
    said = Running(arguments, place.folder / "log", {BREAKS: what}).ended()
    why = _refused(said, run, "nan")
    again = Running(arguments, place.folder / "again").ended()
    return why + ([] if again.code == 0 else [f"mended, it does not go on: {again.sentence}"])


def nan_in_an_observation(place: Place) -> list[str]:
    """An environment shows what is no number."""
    return _fragile(place, "observation")


def nan_in_a_reward(place: Place) -> list[str]:
    """An environment pays what is no number."""
    return _fragile(place, "reward")


DISTURBANCES: tuple[Callable[[Place], list[str] | None], ...] = (
    full_disk,
    read_only,
    wandb_ends,
    wandb_unreachable,
    nan_in_losses,
    nan_in_a_loss,
    nan_in_an_observation,
    nan_in_a_reward,
)


def disturbances(folder: Path, say: Callable[[str], None]) -> Section:
    """Try each once."""
    (folder / "calm").mkdir()
    calm = Place(folder / "calm", folder / "calm" / "run")
    said = Running(calm.arguments(calm.calm), folder / "log").ended()
    if said.code != 0:
        raise SystemExit(f"The calm run did not end well: {said.err}")
    short, found = [], {"as they should": 0, "not possible here": 0}
    for disturb in DISTURBANCES:
        place = Place(folder / disturb.__name__, calm.calm)
        place.folder.mkdir()
        why = disturb(place)
        found["not possible here" if why is None else "as they should"] += not why
        short += [Short(disturb.__name__, each) for each in why or ()]
        say(f"  {disturb.__name__}: {'not possible here' if why is None else '; '.join(why) or 'ok'}")
    return Section("disturbances", len(DISTURBANCES), "of a run on its way", tuple(short), found)
