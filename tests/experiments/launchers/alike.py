"""What the tests of launchers share: how a study ended, and waiting for what others do."""

import json
import time
from pathlib import Path

from training import Logistics

QUIET = Logistics(device="cpu", wandb="off", threads=1, compile="off")


def finished(folder):
    """The metrics of every finished run by its id, but for what follows the clock."""
    results = {path.parent.name: json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")}
    return {run: result["metrics"] for run, result in results.items()}


def finished_of(seed, folder):
    """The same of the runs of one seed, which other seeds do not change."""
    return {run: metrics for run, metrics in finished(folder).items() if f"-s{seed}-" in run}


def lines(folder):
    """The metrics and episodes that a run logged, but for what follows the clock."""
    found = []
    for name in ("metrics.jsonl", "episodes.jsonl"):
        for line in (folder / name).read_text().splitlines():
            found.append({key: value for key, value in json.loads(line).items() if "second" not in key})
    return found


def step_of(folder):
    """How far a run has logged: sooner there than in status.json, which is written every two seconds."""
    try:
        *_, last, _ = (folder / "metrics.jsonl").read_text().rsplit("\n", 2)
        return json.loads(last)["env_step"]
    except (OSError, ValueError):
        return 0


def children(pid):
    """Processes that a process began."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    """Processes that a process began, and those that they began."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def wait_for(condition, seconds=90):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
