"""What a study's last run would refuse is refused before its first begins."""

import os

import gymnasium
import pytest

from expedition import UserError
from experiments.launchers import launcher as launching
from experiments.launchers.launcher import Launcher
from experiments.launchers.preflight import _entries, look, preflight
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from tests.experiments.launchers.alike import QUIET, InThisProcess

STUDIES = (
    "quickstart",
    "walker2023-mazes",
    "hamrick2021",
    "hamrick2021-control",
    "hamrick2021-games",
    "anand2022",
    "bapst2019",
)
SPARE = {"contrasts": [], "factorial": []}


class Deadly(gymnasium.Env):
    """It takes its process with it."""

    def __init__(self):
        os.write(2, b"segmentation fault\n")
        os._exit(9)


gymnasium.register("Deadly-v0", Deadly)
DEADLY = f"{__name__}:Deadly-v0"


@pytest.fixture
def runs(study_file):
    """Runs of a small study with other settings."""

    def make(**changes):
        return planned_runs(find_study(str(study_file(**changes)), None, {"seeds": 2}))

    return make


def looked(runs):
    """Look at each kind of run in this process; how many there were."""
    entries = _entries(runs, {run.id: run.config for run in runs})
    for entry in entries:
        look(entry, QUIET)
    return len(entries)


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_of_our_studies_could_begin(name):
    runs = planned_runs(find_study(name, None, {}))
    assert looked(runs) == len({run.config.env + run.kind for run in runs})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            SPARE | {"tasks": ["CartPole-v1"], "conditions": ["scratch", "model+policy"]},
            r"'model\+policy' carries the dynamics, which learned of the actions Discrete\(3\) of",
        ),
        (
            SPARE | {"tasks": ["catch-pixels"], "conditions": ["scratch", "encoder"]},
            "'encoder' carries the encoder, which learned of the observations",
        ),
        (
            SPARE
            | {
                "conditions": [{"name": "plans", "plan": "scratch", "search": "learn"}],
                "agent": {"search": {"gumbel": {"simulations": 3}}},
            },
            "simulations is 3, by which each of 3 considered actions is tried at most once",
        ),
        (
            {"finetune": {"unseen": "CartPole-v1"}},
            "cannot be judged on 'CartPole-v1'",
        ),
        (
            {"finetune": {"simulator": True, "searches": [4]}, "env": "CartPole-v1"},
            "'CartPole-v1' has no true simulator",
        ),
        ({"finetune": {"replay_gib": 1e-7}}, "A replay of 107 bytes is too small"),
        ({"intrinsic": "language"}, "catch-vector"),
        (
            SPARE
            | {
                "conditions": [
                    {"name": "data", "plan": "model", "data": [{"explores": "CartPole-v1"}, {"seed": 1000}]}
                ]
            },
            r"The data 'of CartPole-v1' act by Discrete\(2\)",
        ),
    ],
    ids=["actions", "observations", "teacher", "unseen", "simulator", "replay", "captions", "data"],
)
def test_what_a_later_run_would_refuse(runs, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        looked(runs(**changes))


def test_nothing_is_started(cli, study_file, tmp_path):
    file = study_file(**SPARE, tasks=["CartPole-v1"], conditions=["scratch", "model"])
    code, _, err = cli("study", file, "--wandb", "off", "--out", tmp_path / "out")
    told = err.splitlines()[-1]
    assert code == 2
    assert told.startswith("expedition: Nothing was started. The run 'model' could not begin: Plan 'model'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("patience", "sentence"),
    [(300.0, "(segmentation fault)"), (0.1, "environments took over 0.1 s to make")],
)
def test_an_environment_that_cannot_be_looked_at(runs, patience, sentence):
    told = []
    planned = runs(env=DEADLY)
    preflight(planned, planned, QUIET, told.append, patience)
    assert len(told) == 1
    assert sentence in told[0]


def test_who_is_done_or_elsewhere_is_not_looked_at(monkeypatch, study_file, tmp_path):
    asked = []
    monkeypatch.setattr(launching, "preflight", lambda left, *_: asked.append([run.id for run in left]))
    monkeypatch.setattr(launching, "is_done", lambda run, folder: run.plan is None)
    study = find_study(str(study_file()), None, {"seeds": 1})
    it = Launcher(study, tmp_path / "out", 1, QUIET, "expedition study x", str)
    it.preflight()
    assert asked == [[run.id for run in it.runs if run.plan is not None]]
    it.place = InThisProcess()
    it.preflight()
    assert len(asked) == 1
