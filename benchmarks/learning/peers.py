"""Does the learner hold up beside a peer's, from scratch on a reward? `python -m benchmarks.learning.peers`.

    python -m benchmarks.learning.peers --task cartpole --seeds 3 --peer-python PEER_PYTHON --out build/learn

PEER_PYTHON is an interpreter where this ran; without it our side runs alone:

    pip install torch==2.13.0 && pip install sheeprl==0.8.4 dm-control==1.0.28 mujoco==3.3.0

Tasks: CartPole-v1 from its four numbers, DeepMind Control's swing-up of a pole from states (an action lasts 8
of its steps), Catch from pixels; both sides see the same environments (`peers/recorded.py`). Equal are the
widths, the batch, the replayed rows an environment step, the number of environments and the steps before
learning starts; both act by samples. Not equal are optimisers, weights of losses and depths of heads: each
project's own, ours those of `expedition train --size tiny`, which were tuned for few updates, and the peer's
as it ships them for long runs. `--set` overrides ours (`--set behaviour.entropy=0.01`, `--set
training.length=32`; what the peer shares it takes over), `--peer-setting` the peer's alone.

Returns are of training episodes, by tenths of the run; `learned` is a seed's best tenth, `kept` its worst one
after that, `last` its last. CPU-seconds are of one thread from the first environment step on, each run by
itself. Written after each run: `learn-TASK.json`, `.txt` (the table) and `.png` (the curves).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.learning.curves import draw, table
from benchmarks.learning.runs import QUIET, from_scratch, read_setting
from benchmarks.peers import sheeprl_learn
from benchmarks.peers.recorded import IMAGE_SIZE, RECORD, TASKS
from expedition import UserError
from experiments.settings import Setting, with_settings
from training import RunConfig, execute, from_dict, prepare_process, to_dict
from training.logging.progress import Status

ROOT = Path(__file__).resolve().parents[2]
NAME = "expedition"
OURS = """
import json, sys
from benchmarks.learning.peers import learn
learn(json.loads(sys.argv[1]))
"""


def read_settings(given: Sequence[str]) -> tuple[Setting, ...]:
    """`behaviour.entropy=0.01` as a setting of a run's agent, `training.length=32` as one of its training.

    Raises:
        UserError: as `read_setting`.
    """
    whole = [text if text.startswith("training.") else f"agent.{text}" for text in given]
    return tuple(setting for text in whole for setting in read_setting(text))


def configure(
    task: str, steps: int, train_ratio: float, seed: int, settings: Sequence[Setting] = ()
) -> RunConfig:
    """Our run: what `expedition train --size tiny` does, judged by its training episodes alone.

    Raises:
        UserError: a setting that is not known, or has the wrong form.
    """
    run = from_scratch(TASKS[task], steps, seed)
    training = dataclasses.replace(
        run.training, train_ratio=train_ratio, image_size=IMAGE_SIZE, evaluation_episodes=0, heldout=1
    )
    config = dataclasses.replace(run, training=training)
    return with_settings(config, settings)


def learn(config: dict[str, Any]) -> None:
    """Carry our run out in the process that calls, and write its episodes as the peer's are written."""
    prepare_process(1)
    clock: dict[int, float] = {}
    report = Status.report

    def noted(status: Status, env_step: int, updates: int, seconds: float) -> None:
        clock[env_step] = time.process_time()
        report(status, env_step, updates, seconds)

    Status.report = noted  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        execute(from_dict(RunConfig, config), Path(folder) / "run", QUIET)
        lines = (Path(folder) / "run" / "episodes.jsonl").read_text().splitlines()
    began = min(clock.values())
    with open(os.environ[RECORD], "w", encoding="utf-8") as file:
        for line in map(json.loads, lines):
            step = line["env_step"]
            print(json.dumps({"step": step, "cpu": clock[step] - began, "return": line["return"]}), file=file)


@dataclasses.dataclass(frozen=True)
class Run:
    """One side with one seed."""

    side: str
    seed: int
    command: list[str]


def planned(arguments: argparse.Namespace) -> list[Run]:
    """Every run, both sides of a seed before the next seed.

    Raises:
        UserError: as `read_settings` and `configure`.
    """
    settings = read_settings(arguments.set)
    runs = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        config = configure(arguments.task, arguments.steps, arguments.train_ratio, seed, settings)
        runs.append(Run(NAME, seed, [sys.executable, "-c", OURS, json.dumps(to_dict(config))]))
        if arguments.peer_python is not None:
            peer = sheeprl_learn.command(
                arguments.peer_python, config, arguments.task, arguments.peer_setting
            )
            runs.append(Run(sheeprl_learn.NAME, seed, peer))
    return runs


def carry_out(run: Run, limit: float) -> dict[str, Any]:
    """Run it in a folder that is thrown away; returns its episodes, and whether it came to its end."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        record, log = Path(folder) / "episodes.jsonl", Path(folder) / "log.txt"
        record.touch()
        settings = {RECORD: str(record), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with log.open("w") as file:
            process = subprocess.Popen(
                run.command, cwd=folder, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT
            )
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
        if code:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise SystemExit(f"{run.side}, seed {run.seed}, ended with {code}: look at what it wrote above.")
        lines = [json.loads(line) for line in record.read_text().splitlines()]
    told = "ended" if code == 0 else "was stopped"
    print(f"{run.side}, seed {run.seed}, {told} after {time.monotonic() - began:.0f} s.", file=sys.stderr)
    return {"seed": run.seed, "finished": code == 0, "arguments": run.command[3:], "episodes": lines}


Sides = dict[str, list[dict[str, Any]]]
"""Runs that ended, by side."""


def measure(arguments: argparse.Namespace, write: Callable[[Sides], None]) -> Sides:
    """Carry all runs out; returns them by side. What has ended is written each time, for this takes hours."""
    sides: Sides = {}
    runs = planned(arguments)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for run, found in zip(runs, pool.map(lambda run: carry_out(run, arguments.limit), runs), strict=True):
            sides.setdefault(run.side, []).append(found)
            write(sides)
    return sides


def write_all(arguments: argparse.Namespace, sides: Sides) -> None:
    """Write episodes, table and curves."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"learn-{arguments.task}"
    given = {"env": TASKS[arguments.task], "steps": arguments.steps, "sides": sides}
    stem.with_suffix(".json").write_text(json.dumps(given, indent=1) + "\n")
    stem.with_suffix(".txt").write_text(table(sides, arguments.steps) + "\n")
    draw(sides, arguments.steps, TASKS[arguments.task], stem.with_suffix(".png"))


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line's arguments."""
    parser.add_argument("--peer", default="sheeprl", choices=["sheeprl"])
    parser.add_argument("--peer-python", help="interpreter where the peer runs; without it ours runs alone")
    parser.add_argument("--peer-setting", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one of our settings"
    )
    parser.add_argument("--task", default="cartpole", choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=4000, help="environment steps of each run")
    parser.add_argument("--train-ratio", type=float, default=32.0, help="replayed rows a step")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, of one thread each")
    parser.add_argument("--limit", type=float, default=21600.0, help="seconds for each run")
    parser.add_argument("--out", type=Path, default=Path("build/learn"))
    return parser.parse_args()


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments = parsed(parser)
    try:
        sides = measure(arguments, lambda sides: write_all(arguments, sides))
    except UserError as error:
        parser.error(str(error))
    print(table(sides, arguments.steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
