"""What chaos counts as a clear end, what it calls alike, and a few tries of its two cheap sections."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.alike import run_differences
from benchmarks.chaos.damage import damaged
from benchmarks.chaos.inputs import flags
from benchmarks.chaos.tiny import Said
from experiments.command_line.commands import Evaluate, Finetune
from tests.training.test_resume import QUIET, config
from training import execute

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("code", "err", "why"),
    [
        (0, "", None),
        (0, "Traceback (most recent call last)\nKeyError: 1", "a traceback"),
        (2, "WARNING: x\nexpedition: There is no run at x: name another.", None),
        (2, "expedition: Unknown plan 'x': did you mean y?", None),
        (2, "| Unrecognized options: --x |\n| For full helptext, run expedition y --help |", None),
        (2, "expedition: no", "no sentence"),
        (2, "expedition: One.\nexpedition: Two.", "no sentence"),
        (2, "expedition: One.\nand more", "no sentence"),
        (2, "", "no sentence"),
        (1, "expedition: One.", "code 1"),
        (-11, "", "code -11"),
        (None, "", "did not end"),
    ],
)
def test_a_clear_end_is_done_or_refused_in_one_sentence(code, err, why):
    found = Said(code, "", err).why
    assert found is None if why is None else why in found


def test_flags_are_those_of_the_command_line():
    assert [flag.name for flag in flags(Evaluate)] == ["--from", "--episodes", "--seed", "--device", "--json"]
    names = [flag.name for flag in flags(Finetune)]
    assert {"--from", "--wandb", "--agent.model.free-nats", "--training.num-envs"} <= set(names)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alike") / "run"
    execute(config("CartPole-v1", "rnd", steps=60), folder, QUIET)
    return folder


def test_runs_differ_by_a_number_of_a_log_or_a_bit_of_a_tensor_and_not_by_the_clock(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    path = other / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "wall_seconds": -1.0}))
    assert run_differences(run, other) == []
    path = other / "episodes.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "length": -1}), *rest]))
    assert run_differences(run, other) == ["episodes"]
    (newest,) = other.glob("checkpoint-*")
    shutil.rmtree(newest)
    assert {"step", "actor.safetensors"} < set(run_differences(run, other))


def test_each_damage_changes_something(tmp_path):
    for seed in range(40):
        for name in "abc":
            (tmp_path / name).write_bytes(name.encode() * 100)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        done = damaged(random.Random(seed), sorted(before))
        after = {path: path.read_bytes() for path in tmp_path.iterdir()}
        assert done
        assert after != before or done.count("swap") > 1  # there and back again


def test_a_few_wrong_inputs_and_damages_end_clearly(tmp_path):
    few = ("--only", "wrong,damage", "--wrong", "5", "--damages", "5", "--out", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *few],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "chaos.json").read_text())["sections"]
    assert {name: (section["tried"], section["short"]) for name, section in found.items()} == {
        "wrong": (5, []),
        "damage": (5, []),
    }
    assert len(done.stdout.splitlines()) == 2
