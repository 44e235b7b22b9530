"""How far the runs of a study are: each state, and what is told."""

import json

import pytest

from expedition import UserError
from experiments.launchers.status import RunStatus, run_statuses, study_folders, told_status
from training.storage.folder import only_process


@pytest.fixture
def study(tmp_path):
    """A study of five runs, one in each state but `running`, and a torn status."""
    folder = tmp_path / "mine"
    names = ("done", "going", "broken", "stopped", "new", "torn")
    for name in names[:4]:
        (folder / name).mkdir(parents=True)
        said = {"env_step": 1500, "steps": 3000, "steps_per_second": 10.0, "seconds_left": 150.0}
        (folder / name / "status.json").write_text(json.dumps(said))
    (folder / "torn").mkdir()
    (folder / "torn" / "status.json").write_text("{")
    (folder / "done" / "result.json").write_text("{}")
    record = {
        "name": "mine",
        "runs": [{"id": name} for name in names],
        "failed": {"broken": "The disk is full"},
    }
    (folder / "study.json").write_text(json.dumps(record))
    return folder


def test_every_state_is_seen(study):
    with only_process(study / "going"):
        found = {run.id: run for run in run_statuses(study)}
    assert found["done"] == RunStatus("done", "done", 1500, 3000)
    assert found["going"] == RunStatus("going", "running", 1500, 3000, 10.0, 150.0)
    assert found["broken"] == RunStatus("broken", "failed", 1500, 3000, why="The disk is full")
    assert found["stopped"] == RunStatus("stopped", "stopped", 1500, 3000)
    assert found["new"] == RunStatus("new", "waiting")
    assert found["torn"] == RunStatus("torn", "waiting")
    assert {run.id: run.state for run in run_statuses(study)}["going"] == "stopped"  # its process is gone


def test_a_failed_run_that_is_tried_again_runs(study):
    with only_process(study / "broken"):
        assert {run.id: run.state for run in run_statuses(study)}["broken"] == "running"


def test_what_is_told(study):
    with only_process(study / "going"):
        lines = list(told_status(study, run_statuses(study)))
    assert lines == [
        f"{study}: 6 runs: 1 done, 1 running, 1 failed, 1 stopped, 2 waiting",
        "  done     done    1,500 of 3,000 steps",
        "  going    running 1,500 of 3,000 steps, 10 steps/s, 2.5 min left",
        "  broken   failed  The disk is full.",
        "  stopped  stopped 1,500 of 3,000 steps",
        "  new      waiting",
        "  torn     waiting",
    ]


def test_a_folder_is_a_study_or_holds_some(study):
    assert study_folders(study) == study_folders(study.parent) == [study]
    with pytest.raises(UserError, match="holds no study"):
        study_folders(study / "done")
    (study / "study.json").write_text("{")
    with pytest.raises(UserError, match="run the study's command again"):
        run_statuses(study)


def test_the_command_tells_it_in_lines_and_as_json(cli, refused, study):
    code, out, _ = cli("status", study)
    assert (code, len(out.splitlines())) == (0, 7)
    code, out, _ = cli("status", study.parent, "--json")
    assert [run["state"] for run in json.loads(out)[str(study)]][:2] == ["done", "stopped"]
    assert "holds no study" in refused("status", study / "new")


def test_watching_ends_when_all_runs_are_done(cli, study):
    record = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**record, "runs": [{"id": "done"}]}))
    code, out, _ = cli("status", study, "--watch")
    assert code == 0
    assert out.startswith("\x1b[H\x1b[J")
    assert out.count("1 done") == 1


def test_looking_keeps_nobody_from_working(study):
    from training.storage.folder import is_held

    assert not is_held(study / "going")
    assert not is_held(study / "nowhere")
    with only_process(study / "going"):
        assert is_held(study / "going")
    with only_process(study / "going"):
        pass
