"""How far the runs of a study are, read from its folder while it runs or after."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from expedition import UserError
from training.storage.folder import is_held, read_json

State = Literal["done", "running", "failed", "stopped", "waiting"]
"""`stopped` has begun and goes on when the study does; `waiting` has not begun."""
STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "waiting")


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """How far one run is.

    Attributes:
        id: its folder's name.
        state: as `State`.
        step: environment steps so far, of `steps`.
        steps: environment steps of the whole run; None where it has not begun.
        speed: environment steps a second, as it last said.
        left: seconds left, as it last said.
        updates: updates so far: all that a run on the replays of others makes.
        why: why it failed; empty otherwise.
    """

    id: str
    state: State
    step: int = 0
    steps: int | None = None
    speed: float | None = None
    left: float | None = None
    updates: int = 0
    why: str = ""


def study_folders(root: Path) -> list[Path]:
    """Folders of studies in a folder, which may be one itself.

    Raises:
        UserError: there is none.
    """
    found = [root] if _is_study(root) else sorted(path for path in root.glob("*") if _is_study(path))
    if not found:
        raise UserError(
            f"{root} holds no study: give the folder of one, or begin one with `expedition study`."
        )
    return found


def run_statuses(folder: Path, works_on: Callable[[Path], bool] = is_held) -> list[RunStatus]:
    """The runs of a study, in their order.

    Args:
        folder: the study's.
        works_on: whether somebody works on the run of a folder.

    Raises:
        UserError: its study.json is broken.
    """
    record = read_json(folder / "study.json", "run the study's command again")
    failed = record.get("failed") or {}
    return [_of_run(folder / str(run["id"]), failed, works_on) for run in record["runs"]]


def _is_study(path: Path) -> bool:
    return (path / "study.json").is_file()


def _of_run(folder: Path, failed: dict[str, str], works_on: Callable[[Path], bool]) -> RunStatus:
    said = _said(folder / "status.json")
    done, whole, updates = int(said.get("env_step") or 0), said.get("steps"), int(said.get("updates") or 0)
    if (folder / "result.json").is_file():
        return RunStatus(folder.name, "done", done, whole, updates=updates)
    if works_on(folder):
        speed, left = said.get("steps_per_second"), said.get("seconds_left")
        return RunStatus(folder.name, "running", done, whole, speed, left, updates)
    why = failed.get(folder.name, "")
    state: State = "failed" if why else "stopped" if said else "waiting"
    return RunStatus(folder.name, state, done, whole, updates=updates, why=why)


def _said(path: Path) -> dict[str, Any]:
    """What a run last said of itself; nothing where it has not, or is saying it right now."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def told_status(folder: Path | str, runs: list[RunStatus]) -> Iterator[str]:
    """Lines for a person: how many of each state, then a line a run."""
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f"{folder}: {len(runs)} runs: {told}"
    width = max((len(run.id) for run in runs), default=0)
    for run in runs:
        yield f"  {run.id:<{width}}  {run.state:<8}{_detail(run)}".rstrip()


def _detail(run: RunStatus) -> str:
    if run.why:
        return f"{run.why}."
    if run.steps is None or run.state == "waiting":
        return ""
    if run.steps == 0 and run.updates:
        return f"{run.updates:,} updates"
    detail = f"{run.step:,} of {run.steps:,} steps"
    if run.speed and run.left is not None:
        detail += f", {run.speed:,.0f} steps/s, {run.left / 60:.1f} min left"
    return detail
