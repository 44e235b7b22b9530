"""Returns of ours and a peer's learner from scratch on a task's reward: `python -m benchmarks.learn`.

    python -m benchmarks.learn --peer sheeprl --peer-python PEER_PYTHON --task cartpole --out build/learn

PEER_PYTHON is an interpreter where `pip install sheeprl==0.8.4` ran; without it our side runs alone. Equal
are the widths, the batch, the replayed rows an environment step, the number of environments and the steps
before learning starts; both act by samples. Not equal are optimisers, weights of losses and depths of heads:
each project's own, ours those of the preset `tiny`, which was tuned for few updates, and the peer's as it
ships them for long runs. `--peer-setting` overrides one of the peer's.

Returns are of training episodes. CPU-seconds are of one thread from the first environment step on, each side
by itself. Written: `learn-TASK.json`, `.txt` (the table) and `.png` (both curves).
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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.recorded import IMAGE_SIZE, RECORD
from experiments.settings import agent_preset, training_preset
from training import Logistics, RunConfig, execute, prepare_process, to_dict
from training.logging.progress import Status

ROOT = Path(__file__).resolve().parents[1]
TASKS = {"cartpole": ("CartPole-v1", "RecordedCartPole-v0"), "catch": ("catch-pixels", "RecordedCatch-v0")}
"""Our id, and the peer's of the same environment, whose episodes are written down (`peers/recorded.py`)."""
POINTS = 10
"""Lines of the table."""
OURS = """
import json, sys
from benchmarks.learn import learn
learn(json.loads(sys.argv[1]))
"""
SHEEPRL = "from sheeprl.cli import run; run()"


def configure(task: str, steps: int, train_ratio: float, seed: int) -> RunConfig:
    """Our run."""
    training = dataclasses.replace(
        training_preset("tiny"),
        train_ratio=train_ratio,
        image_size=IMAGE_SIZE,
        evaluation_episodes=0,
        heldout=1,
    )
    return RunConfig(TASKS[task][0], "finetune", None, "tiny", steps, seed, agent_preset("tiny"), training)


def learn(settings: dict[str, Any]) -> None:
    """Carry our run out in the process that calls, and write its episodes as the peer's are written."""
    prepare_process(1)
    quiet = Logistics(device="cpu", threads=1, workers=0, wandb="off", progress=False)
    clock: dict[int, float] = {}
    report = Status.report

    def noted(status: Status, env_step: int, updates: int, seconds: float) -> None:
        clock[env_step] = time.process_time()
        report(status, env_step, updates, seconds)

    Status.report = noted  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        execute(configure(**settings), Path(folder) / "run", quiet)
        lines = (Path(folder) / "run" / "episodes.jsonl").read_text().splitlines()
    began = min(clock.values())
    with open(os.environ[RECORD], "w", encoding="utf-8") as file:
        for line in map(json.loads, lines):
            step = line["env_step"]
            print(json.dumps({"step": step, "cpu": clock[step] - began, "return": line["return"]}), file=file)


def sheeprl(config: RunConfig, task: str) -> list[str]:
    """The peer's settings that make its run like ours."""
    training, model = config.training, config.agent.model
    world = "algo.world_model"
    ratio = training.train_ratio / (training.batch * training.length)
    images, vectors = ("[]", "[state]") if task == "cartpole" else ("[image]", "[]")
    return [
        "exp=dreamer_v3",
        "env=gym",
        f"env.id=benchmarks.peers.recorded:{TASKS[task][1]}",
        f"env.num_envs={training.num_envs}",
        f"env.screen_size={training.image_size}",
        "env.sync_env=True",
        "env.capture_video=False",
        *(f"algo.cnn_keys.{side}={images}" for side in ("encoder", "decoder")),
        *(f"algo.mlp_keys.{side}={vectors}" for side in ("encoder", "decoder")),
        f"seed={config.seed}",
        "num_threads=1",
        f"algo.total_steps={config.steps}",
        f"algo.learning_starts={training.learning_starts}",
        f"algo.replay_ratio={ratio}",
        f"algo.per_rank_batch_size={training.batch}",
        f"algo.per_rank_sequence_length={training.length}",
        f"algo.horizon={config.agent.behaviour.imagination}",
        f"algo.dense_units={model.units}",
        f"algo.mlp_layers={config.agent.behaviour.layers}",
        f"{world}.encoder.cnn_channels_multiplier={model.depth}",
        f"{world}.recurrent_model.recurrent_state_size={model.deter}",
        f"{world}.transition_model.hidden_size={model.hidden}",
        f"{world}.representation_model.hidden_size={model.hidden}",
        f"{world}.stochastic_size={model.stoch}",
        f"{world}.discrete_size={model.classes}",
        f"buffer.size={max(config.steps, 1000)}",
        "buffer.memmap=False",
        "buffer.checkpoint=False",
        f"checkpoint.every={10**9}",
        "checkpoint.save_last=False",
        "algo.run_test=False",
        "metric.log_level=0",
        "metric.disable_timer=True",
    ]


def recorded(command: list[str], limit: float) -> dict[str, Any]:
    """Run a side in a folder that is thrown away; returns its episodes, and whether it came to its end."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "episodes.jsonl"
        record.touch()
        settings = {RECORD: str(record), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        log = Path(folder) / "log.txt"
        with log.open("w") as file:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT
            )
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
        if code:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise SystemExit(f"{command[0]} ended with {code}: look at what it wrote above.")
        lines = [json.loads(line) for line in record.read_text().splitlines()]
    return {"finished": code == 0, "episodes": lines}


def window_means(episodes: list[dict[str, float]], steps: int) -> list[dict[str, float]]:
    """Mean return of the episodes that ended in each tenth of the steps, with the CPU-seconds at its end."""
    found = []
    for end in np.linspace(0, steps, POINTS + 1)[1:]:
        inside = [one for one in episodes if end - steps / POINTS < one["step"] <= end]
        if inside:
            mean = float(np.mean([one["return"] for one in inside]))
            line = {"step": float(end), "return": mean, "episodes": float(len(inside))}
            found.append({**line, "cpu": inside[-1]["cpu"]})
    return found


def table(found: dict[str, Any]) -> str:
    """Mean return and CPU-seconds of each side by environment steps."""
    names = list(found["sides"])
    curves = [{line["step"]: line for line in found["sides"][name]["curve"]} for name in names]
    lines = [f"{'steps':>8}" + "".join(f"{name:>22}{'CPU-s':>9}" for name in names)]
    for step in sorted({step for curve in curves for step in curve}):
        cells = [curve.get(step) for curve in curves]
        lines.append(
            f"{step:8.0f}" + "".join(f"{c['return']:22.2f}{c['cpu']:9.1f}" if c else " " * 31 for c in cells)
        )
    return "\n".join(lines)


def draw(found: dict[str, Any], path: Path) -> None:
    """Both curves, by environment steps and by CPU-seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True), ("step", "cpu"), ("environment steps", "CPU-seconds"), strict=True
    ):
        for name, side in found["sides"].items():
            axes.plot(
                [line[key] for line in side["curve"]],
                [line["return"] for line in side["curve"]],
                marker="o",
                label=name,
            )
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("return of training episodes")
    figure.axes[0].legend()
    figure.suptitle(found["task"])
    figure.savefig(path, dpi=120)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one side after the other."""
    given = {
        "task": arguments.task,
        "steps": arguments.steps,
        "train_ratio": arguments.train_ratio,
        "seed": arguments.seed,
    }
    config = configure(**given)
    commands = {"expedition": [sys.executable, "-c", OURS, json.dumps(given)]}
    peer_settings = [*sheeprl(config, arguments.task), *arguments.peer_setting]
    if arguments.peer_python is not None:
        commands["sheeprl 0.8.4"] = [arguments.peer_python, "-c", SHEEPRL, *peer_settings]
    sides: dict[str, Any] = {}
    for name, command in commands.items():
        side = recorded(command, arguments.limit)
        sides[name] = {**side, "curve": window_means(side["episodes"], arguments.steps)}
    return {**given, "config": to_dict(config), "peer_settings": peer_settings, "sides": sides}


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", default="sheeprl", choices=["sheeprl"])
    parser.add_argument("--peer-python", help="interpreter where the peer runs; without it ours runs alone")
    parser.add_argument("--peer-setting", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--task", default="cartpole", choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=4000, help="environment steps of each side")
    parser.add_argument("--train-ratio", type=float, default=32.0, help="replayed rows a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for each side")
    parser.add_argument("--out", type=Path, default=Path("build/learn"))
    arguments = parser.parse_args()
    found = measure(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"learn-{arguments.task}"
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    stem.with_suffix(".txt").write_text(table(found) + "\n")
    draw(found, stem.with_suffix(".png"))
    print(table(found))
    for name, side in found["sides"].items():
        if not side["finished"]:
            print(f"{name} was stopped after {arguments.limit:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
