"""Every example as a person runs it, at sizes that take seconds; and as short as it is promised to be."""

import ast
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import load_file

from experiments.command_line.cli import main
from tests.experiments.launchers.alike import InThisProcess

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))
PROMISED = {"load_and_act.py": 10, "dream.py": 15, "features_for_sb3.py": 20}
"""Lines of code, without blank ones and the docstring."""
SETTINGS = {
    "agent": {
        "model": {"deter": 16, "hidden": 8, "stoch": 4, "classes": 4, "blocks": 4, "units": 8, "depth": 2},
        "behaviour": {"imagination": 3, "layers": 1},
    },
    "training": {
        "num_envs": 2,
        "batch": 2,
        "length": 8,
        "learning_starts": 24,
        "evaluation_episodes": 1,
        "image_size": 32,
    },
}


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """A pre-training run of a moment on catch-pixels; nobody writes to it."""
    folder = tmp_path_factory.mktemp("explored")
    (folder / "small.json").write_text(json.dumps({"size": "tiny", "wandb": "off", **SETTINGS}))
    flags = ["--config", folder / "small.json", "--env", "catch-pixels", "--steps", 32]
    assert main(["pretrain", *map(str, flags), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def example(monkeypatch, capsys):
    """Run an example in this process with its folder in the path, as `python` has it; returns its output."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def settings(run):
    return json.loads((run / "config.json").read_text())


def logged(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def code_lines(path):
    """Lines of code: without blank ones and docstrings."""
    source = path.read_text()
    tree = ast.parse(source)
    told = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            told |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    return [line for number, line in lines if line.strip() and number not in told]


@pytest.mark.parametrize("name", PROMISED)
def test_they_are_as_short_as_promised(name):
    assert len(code_lines(FOLDER / name)) <= PROMISED[name]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_run_here(name):
    assert f"(../examples/{name})" in (ROOT / "docs" / "library.md").read_text()
    assert f'example("{name}"' in Path(__file__).read_text()


def test_load_and_act(example, explored):
    out = example("load_and_act.py", explored)
    assert re.fullmatch(r"return (-1|0|1)\n", out)
    assert out == example("load_and_act.py", explored)


def test_dream(example, explored, tmp_path):
    assert "rewards dreamed of: [" in example("dream.py", explored, tmp_path / "dream.gif")
    with Image.open(tmp_path / "dream.gif") as film:
        assert film.size == (32, 32)
        # Equal frames are joined, and shown for longer.
        shown = [film.seek(frame) or film.info["duration"] for frame in range(film.n_frames)]
    assert sum(shown) == 16 * 200


def test_features_for_another_learner(example, explored):
    out = example("features_for_sb3.py", explored, 128)
    assert re.search(r"total_timesteps +\| 128", out)


def test_own_environment(example, tmp_path):
    out = example("own_environment.py", tmp_path / "run", 520)
    assert out.startswith("explored for 5")
    assert settings(tmp_path / "run")["env"] == "own_environment:Line-v0"


def test_own_reward(example, tmp_path):
    example("own_reward.py", tmp_path / "run", 760)
    assert settings(tmp_path / "run")["intrinsic"] == "own_reward:Change"
    assert max(line.get("intrinsic/reward", 0) for line in logged(tmp_path / "run")) > 0


def test_own_component(example, tmp_path):
    example("own_component.py", tmp_path / "run", 760)
    *_, checkpoint = sorted((tmp_path / "run").glob("checkpoint-*"))
    saved = load_file(checkpoint / "decoder.safetensors")
    assert set(saved) == {"head.weight", "head.bias"}
    assert any("loss/brightness" in line for line in logged(tmp_path / "run"))


def test_own_study(example, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.launchers.launcher.make_place", lambda *_: InThisProcess())
    monkeypatch.setattr("experiments.reporting.publish.write_page", lambda *_: None)
    out = example("own_study.py", tmp_path / "study", 24)
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert out.strip() == summary["answer"]["sentence"]
    assert set(summary["conditions"]) == {"scratch", "model", "random policy"}
    assert (tmp_path / "study" / "report.png").is_file()
