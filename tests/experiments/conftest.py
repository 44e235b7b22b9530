"""Made-up study folders for the report's tests, and the command line on tiny runs for the others."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from envs.captions.crafter import ACHIEVEMENTS
from experiments.command_line.cli import main
from tests.experiments.launchers.alike import InThisProcess
from training.logging.wandb_file import read_records

RETURNS = {"scratch": 2.1, "policy": 3.0, "model": 2.9, "model+policy": 4.2}
ERRORS = {"scratch": (0.060, 0.014), "policy": (0.060, 0.013), "model": (0.012, 0.010)}
ERRORS["model+policy"] = ERRORS["model"]
EASY = {"collect_sapling": 60, "place_plant": 45, "collect_wood": 55, "wake_up": 80, "collect_drink": 35}


def write_study(folder, seeds=(0,), conditions=tuple(RETURNS), environment="Crafter", suite=True, films=True):
    """Write a made-up study, with the shape of a real one, and return its folder."""
    folder = Path(folder)
    runs = [
        {"id": f"pretrain-s{seed}", "phase": "pretrain", "condition": None, "seed": seed} for seed in seeds
    ]
    runs += [
        {"id": f"{condition}-s{seed}", "phase": "finetune", "condition": condition, "seed": seed}
        for condition in conditions
        for seed in seeds
    ]
    head = {"name": "quickstart", "command": "expedition study quickstart", "version": "0.1.0"}
    head |= {"seeds": list(seeds), "environment": environment, "runs": runs}
    head["suite_metrics"] = ["crafter_score", "achievements"] if suite else []
    write_json(folder / "study.json", head)
    for number, run in enumerate(runs):
        write_run(folder / run["id"], run, np.random.default_rng(number), suite, films)
    return folder


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(folder, run, rng, suite, films):
    steps = 8000 if run["phase"] == "pretrain" else 4000
    write_json(folder / "status.json", {"state": "finished", "env_step": steps, "wall_seconds": 60.5})
    write_json(folder / "config.json", {})
    result = {"metrics": {}, "episodes": 20, "environment_steps": steps, "wall_seconds": 61.0, "success": {}}
    if run["phase"] == "finetune":
        write_episodes(folder, RETURNS[run["condition"]], steps, rng)
        result |= made_up_result(run["condition"], rng, suite)
    write_json(folder / "result.json", result)
    if films and run["phase"] == "finetune":
        write_films(folder / "media", blur=0.35 if run["condition"].startswith("model") else 0.95)


def write_episodes(folder, level, steps, rng):
    lines, step = [], 0
    while (step := step + int(rng.integers(80, 220))) < steps:
        mean = 1.4 + (level - 1.4) * step / steps
        lines.append(json.dumps({"env_step": step, "return": rng.normal(mean, 0.9), "length": 150}))
    (folder / "episodes.jsonl").write_text("\n".join(lines) + '\n{"env_step": 40')


def made_up_result(condition, rng, suite):
    start, end = (error * rng.uniform(0.9, 1.1) for error in ERRORS[condition])
    metrics = {"return": RETURNS[condition] + rng.normal(0, 0.3)}
    metrics |= {"open_loop_error_start": start, "open_loop_error_end": end}
    horizon = np.arange(1, 46)
    result = {"metrics": metrics}
    result["open_loop_by_horizon_start"] = list(start * (0.6 + 0.4 * horizon / 23))
    result["open_loop_by_horizon_end"] = list(end * (0.3 + 0.7 * horizon / 23))
    if suite:
        gain = RETURNS[condition] / 2.1
        luck = rng.uniform(0.4, 1.7, len(ACHIEVEMENTS))
        rates = {
            name: min(100.0, 5.0 * round(EASY.get(name, 1.9) * gain / 5 * more))
            for name, more in zip(ACHIEVEMENTS, luck, strict=True)
        }
        result["success"] = rates
        metrics["crafter_score"] = float(np.expm1(np.log1p(list(rates.values())).mean()))
        metrics["achievements"] = float(sum(rate > 0 for rate in rates.values()))
    return result


def write_films(folder, blur, columns=16, size=32):
    """Write strips of a moving square: truth, a prediction that fades to grey, and their difference."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    ground = np.kron(rng.uniform(60, 200, (size // 8, size // 8, 3)), np.ones((8, 8, 1)))
    truth, dream = [], []
    for t in range(columns):
        frame = np.roll(ground, 2 * t, axis=1)
        frame[size // 2 - 3 : size // 2 + 3, (2 * t) % (size - 6) :][:, :6] = (230, 60, 60)
        share = min(1.0, blur * (0.4 + t / columns))
        truth.append(frame)
        dream.append((1 - share) * frame + share * ground.mean(axis=(0, 1)))
    rows = [np.concatenate(row, axis=1) for row in (truth, dream)]
    strip = np.concatenate([*rows, np.abs(rows[0] - rows[1])]).astype(np.uint8)
    for moment in ("start", "end"):
        Image.fromarray(strip).save(folder / f"open_loop_{moment}.png")


@pytest.fixture
def add_metrics():
    """Give the runs of phase 2 of a made-up study more metrics: those of a condition and a seed."""

    def add(folder, metrics):
        for path in folder.glob("*/result.json"):
            condition, seed = path.parent.name.rsplit("-s", 1)
            if condition != "pretrain":
                result = json.loads(path.read_text())
                result["metrics"] |= metrics(condition, int(seed))
                path.write_text(json.dumps(result))
        return folder

    return add


@pytest.fixture(name="write_study", scope="session")
def _write_study():
    return write_study


@pytest.fixture
def made_up():
    """The numbers that made-up studies are made from."""
    return SimpleNamespace(returns=RETURNS, errors=ERRORS, write_json=write_json)


# Widths at which a run takes a second: what is tested here is not how well it learns.
SMALL = {
    "agent": {
        "model": {"deter": 16, "hidden": 8, "stoch": 4, "classes": 4, "blocks": 4, "units": 8, "depth": 2},
        "behaviour": {"imagination": 3, "layers": 1, "starts": 2},
        "optimizer": {"lr": 1e-3, "warmup": 2},
        "guidance": {"updates": 5, "batch": 4, "length": 6},
    },
    "training": {
        "num_envs": 2,
        "batch": 2,
        "length": 8,
        "train_ratio": 4.0,
        "learning_starts": 24,
        "log_every": 20,
        "heldout": 8,
        "context": 2,
        "open_loop": 4,
        "evaluation_episodes": 2,
        "image_size": 32,
    },
}


def command_line(*arguments):
    """Run the command in this process: exit code, as `expedition` would give it."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def cli(capsys):
    """Run the command in this process: exit code, stdout, stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = command_line(*arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(cli):
    """Run the command, insist that it is refused as the house does it, and return the sentence."""

    def run(*arguments):
        code, out, err = cli(*arguments)
        assert code == 2, (out, err)
        assert out == ""
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("expedition: ")]
        assert len(lines) == 1
        assert err.splitlines()[-1] == lines[0]
        assert lines[0].endswith((".", "?"))
        return lines[0]

    return run


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A file of settings for tiny runs."""
    path = tmp_path_factory.mktemp("settings") / "small.json"
    path.write_text(json.dumps({"env": "catch-vector", "size": "tiny", "wandb": "off", **SMALL}))
    return path


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, small):
    """A finished pre-training run of 64 steps on catch-vector; nobody writes to it."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    assert command_line("pretrain", "--config", small, "--steps", 64, "--out", folder) == 0
    return folder


def write_study_file(path, **changes):
    """Write a study of tiny runs; keywords change its settings."""
    settings = {
        "base": "quickstart-crafter",
        "env": "catch-vector",
        "pretrain_steps": 48,
        "finetune_steps": 40,
        "conditions": ["scratch", "model"],
        "agent": SMALL["agent"],
        "pretrain": SMALL["training"],
        "finetune": SMALL["training"],
    }
    path.write_text(json.dumps({**settings, **changes}))  # JSON is YAML
    return path


@pytest.fixture
def study_file(tmp_path):
    """Write a study of tiny runs as YAML and return its path; keywords change its settings."""
    return lambda **changes: write_study_file(tmp_path / "small-study.yaml", **changes)


@pytest.fixture
def in_this_process(monkeypatch):
    """Carry studies out without a process for each run, which imports for two seconds."""
    monkeypatch.setattr("experiments.launchers.launcher.make_place", lambda *_: InThisProcess())


@pytest.fixture
def no_page(monkeypatch):
    """Leave the report's page and its figures out, which take seconds, where others show them."""
    monkeypatch.setattr("experiments.reporting.publish.write_page", lambda *_: None)


@pytest.fixture(scope="session")
def studied(tmp_path_factory):
    """Folder and command line of a study of two seeds and two plans on catch-vector; nobody writes to it.

    Its eight processes are the suite's dearest fixture, so all workers of pytest-xdist read one folder.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "studied"
    folder.mkdir(exist_ok=True)
    machine = ("--jobs", 2, "--wandb", "off", "--compile", "off")
    arguments = ("study", folder / "catch.yaml", "--seeds", 2, *machine, "--out", folder / "out")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            write_study_file(folder / "catch.yaml")
            assert command_line(*arguments) == 0
            (folder / "done").touch()
    return folder / "out", arguments


@pytest.fixture
def spawn(tmp_path):
    """Start the command in a process of its own, with its output in files; ended with the test."""
    started = []

    def start(*arguments):
        output = [(tmp_path / f"{len(started)}.{name}").open("w+") for name in ("out", "err")]
        command = [sys.executable, "-m", "experiments.command_line.cli", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        process = subprocess.Popen(command, stdout=output[0], stderr=output[1], env=environment)
        process.said = lambda: Path(output[1].name).read_text()
        started.append((process, output))
        return process

    yield start
    for process, output in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for file in output:
            file.close()


@pytest.fixture
def wandb_runs():
    """Read the offline runs below a folder: for each its `run` record and the keys of its history."""

    def read(folder):
        found = []
        for path in sorted(folder.glob("**/offline-run-*/run-*.wandb")):
            for _ in range(200):  # W&B's service may still be flushing the file
                records = [record for record, _ in read_records(path)]
                if any(record.WhichOneof("record_type") == "exit" for record in records):
                    break
                time.sleep(0.05)
            run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
            items = [i for r in records if r.WhichOneof("record_type") == "history" for i in r.history.item]
            keys = {item.key or "/".join(item.nested_key) for item in items}
            config = {update.key: json.loads(update.value_json) for update in run.config.update}
            steps = [json.loads(i.value_json) for i in items if "env_step" in (i.key, *i.nested_key)]
            logged = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
            what = {"run": run, "keys": keys, "config": config, "steps": steps, "folder": path.parent}
            found.append(SimpleNamespace(**what, artifacts=[a for a in logged if "run-" not in a.name[:4]]))
        return found

    return read
