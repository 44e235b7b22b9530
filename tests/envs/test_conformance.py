"""`check-env`: sound environments pass, and each kind of defect is found by the check that is for it."""

import dataclasses
import json
import pathlib
import re

import pytest

from envs.conformance import check
from expedition import UserError
from experiments.command_line.cli import main

WORLD = '''
import os, random
import gymnasium
import numpy as np


class Sound(gymnasium.Env):
    """Counts to 7; the seed decides the start."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}
    observation_space = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(0, 100, (2,), np.float32)})
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.mark = 0, float(self.np_random.integers(90))
        return self.look(), {}

    def step(self, action):
        self.count += 1
        return self.look(), self.pay(), self.count == 7, False, {}

    def look(self):
        return {"vector": np.array([self.count, self.mark], np.float32)}

    def pay(self):
        return 1.0

    def render(self):
        return np.zeros((8, 8, 3), np.uint8)


class Outside(Sound):
    def look(self):
        return {"vector": np.array([self.count - 5, self.mark], np.float32)}


class Infinite(Sound):
    def pay(self):
        return float("nan") if self.count == 5 else 0.0


class Lucky(Sound):
    def look(self):
        return {"vector": np.array([self.count, np.random.default_rng().integers(90)], np.float32)}


class Stained(Sound):
    def look(self):
        return {"vector": np.array([0 * np.random.randint(9) + self.count, self.mark], np.float32)}


class Worn(Sound):
    resets = -1

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        super().reset(seed=seed)
        self.mark = float(self.resets)
        return self.look(), {}


class Process(Sound):
    def look(self):
        return {"vector": np.array([self.count, os.getpid() % 89], np.float32)}


class Shy(Sound):
    def render(self):
        self.mark = (self.mark + 1) % 90
        return super().render()


class Broken(Sound):
    def step(self, action):
        raise ZeroDivisionError("no such thing")


class Old(Sound):
    def step(self, action):
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, info


for kind in (Old, Sound, Outside, Infinite, Lucky, Stained, Worn, Process, Shy, Broken):
    gymnasium.register(kind.__name__ + "-v0", entry_point=kind, disable_env_checker=True)
gymnasium.register("Chance-v0", entry_point=Lucky, disable_env_checker=True, nondeterministic=True)
'''


@pytest.fixture(autouse=True)
def worlds(tmp_path, monkeypatch):
    (tmp_path / "check_worlds.py").write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)


def found(name, **settings):
    return {f.name: f for f in check(f"check_worlds:{name}-v0", **{"steps": 20, **settings})}


def test_a_sound_environment_passes_everything():
    findings = found("Sound")
    assert {name for name, finding in findings.items() if finding.passed is not True} == set()
    assert findings["endings"].detail == "4 terminal, 0 cut off"
    assert findings["random play"].detail == "40 steps, 4 episodes"


def test_actions_of_several_factors_pass():
    findings = {f.name: f for f in check("tests.factored:Pair-v0", steps=20)}
    assert {name for name, finding in findings.items() if finding.passed is False} == set()
    assert findings["endings"].detail == "8 terminal, 0 cut off"  # five rows each, of 20 steps in each of two


@pytest.mark.parametrize(
    ("name", "check_name"),
    [
        ("Outside", "spaces and dtypes"),
        ("Infinite", "spaces and dtypes"),
        ("Lucky", "repeats under a seed"),
        ("Stained", "global generators"),
        ("Worn", "repeats under a seed"),
        ("Process", "the same in a process"),
        ("Shy", "videos change nothing"),
        ("Broken", "random play"),
        ("Old", "spaces and dtypes"),
    ],
)
def test_each_defect_is_found(name, check_name):
    assert found(name)[check_name].passed is False


def test_what_is_not_promised_is_not_judged():
    findings = found("Chance")
    for name in ("repeats under a seed", "the same in a process", "snapshot and restore"):
        assert (findings[name].passed, findings[name].detail) == (None, "not promised")


def test_an_environment_that_never_ends_is_not_judged_on_its_endings():
    assert found("Sound", steps=5)["endings"].passed is None


def test_the_example_of_the_page_passes_though_it_draws_nothing(tmp_path):
    page = pathlib.Path(__file__).parents[2] / "docs" / "environments.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "lines_of_the_page.py").write_text(example)
    findings = {f.name: f for f in check("lines_of_the_page:Line-v0", steps=20)}
    assert all(finding.passed is not False for finding in findings.values()), findings
    assert findings["videos change nothing"].passed is None
    assert "draws no pictures" in findings["videos change nothing"].detail


def test_no_steps_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        found("Sound", steps=0)


def test_the_command_says_why_it_fails(capsys):
    assert main(["check-env", "check_worlds:Shy-v0", "--steps", "10"]) == 1
    out, err = capsys.readouterr()
    assert "'check_worlds:Shy-v0' failed: videos change nothing." in err
    assert "videos change nothing  FAILED" in out
    assert main(["check-env", "maze-vector", "--steps", "10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told[0]) == {field.name for field in dataclasses.fields(found("Sound")["speed"])}
