"""What another study has done already: taken over whole, and nothing else."""

import dataclasses
import json
import shutil

import pytest

from expedition import UserError
from experiments.launchers.launcher import Launcher
from experiments.launchers.sharing import done_elsewhere, take_over
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from training import Logistics, read_result

QUIET = Logistics(device="cpu", wandb="off", threads=1)


@pytest.fixture
def root(studied, tmp_path):
    """A folder with a finished study in it."""
    shutil.copytree(studied[0], tmp_path / "first")
    return tmp_path


@pytest.fixture
def explored(study_file):
    """The run of phase 1 of its first seed."""
    return planned_runs(find_study(str(study_file()), None, {"seeds": 2}))[0]


def test_a_study_takes_over_what_another_has_done(root, study_file, in_this_process):
    said = []
    study = find_study(str(study_file(conditions=["scratch", "encoder"])), None, {"seeds": 1})
    it = Launcher(study, root / "second", 2, QUIET, "x", said.append, shared=root)
    assert it.run() == 0
    assert f"3 runs are done already in {root / 'first'}, and are taken over from there." in said
    jobs = list((root / "second" / "logs").glob("*.json"))
    assert [job.name.partition("-")[0] for job in jobs] == ["encoder"]
    (carried,) = (root / "second").glob("encoder-*/transfer.json")
    assert str(root / "second" / "pretrain-s0") in json.loads(carried.read_text())["source"]["folder"]
    for run in it.runs:
        assert read_result(root / "second" / run.id) is not None
    assert not list((root / "second").glob(".*.part"))


def test_tensors_are_shared_and_what_is_appended_to_is_not(root, explored):
    (root / "second").mkdir()
    assert take_over(root, root / "second", [explored]) == {explored.id: root / "first" / explored.id}
    for path in (root / "second" / explored.id).rglob("*"):
        if path.is_file():
            assert path.stat().st_nlink == (2 if path.suffix == ".safetensors" else 1)
            assert path.read_bytes() == (root / "first" / path.relative_to(root / "second")).read_bytes()
    shutil.rmtree(root / "first")
    assert list((root / "second" / explored.id).glob("checkpoint-*/actor.safetensors"))


def test_at_wandb_a_run_stays_the_other_studys(root, explored):
    (root / "second").mkdir()
    (root / "first" / explored.id / "wandb").mkdir()
    (root / "first" / explored.id / "wandb_id.json").write_text("{}")
    take_over(root, root / "second", [explored])
    assert not list((root / "second" / explored.id).glob("wandb*"))


@pytest.mark.parametrize(
    "result", [None, "{", '{"version": "0.0.1"}'], ids=["unfinished", "torn", "of another version"]
)
def test_what_is_not_whole_or_of_another_version_is_left_alone(root, explored, result):
    path = root / "first" / explored.id / "result.json"
    path.unlink() if result is None else path.write_text(result)
    assert done_elsewhere(root, root / "second", explored) is None


def test_a_run_that_was_made_longer_is_another(root, explored, study_file):
    path = root / "first" / explored.id / "config.json"
    settings = json.loads(path.read_text())
    del settings["sha256"]
    path.write_text(json.dumps({**settings, "steps": settings["steps"] + 8}))
    assert done_elsewhere(root, root / "second", explored) is None
    study = dataclasses.replace(find_study(str(study_file()), None, {"seeds": 2}), name="catch")
    with pytest.raises(UserError, match=r"holds a run with other settings: steps \(56 there, 48 asked for\)"):
        Launcher(study, root / "first", 2, QUIET, "x", lambda _: None).run()


def test_nothing_is_taken_over_from_oneself_or_over_what_is_begun(root, explored):
    assert done_elsewhere(root, root / "first", explored) is None
    (root / "second" / explored.id).mkdir(parents=True)
    assert take_over(root, root / "second", [explored]) == {}


def test_a_folder_of_ones_own_begins_anew(studied, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(studied[0], tmp_path / "runs" / "first")
    made = []
    monkeypatch.setattr(Launcher, "run", lambda self: made.append(self.shared) or 130)
    for out in ((), ("--out", "mine")):
        cli(*studied[1][:2], *out)
    assert [None if path is None else str(path) for path in made] == ["runs", None]
