"""Runs that were logged offline and are sent later; nothing here reaches W&B."""

import subprocess

import pytest

from expedition import UserError
from experiments.launchers import sending
from experiments.launchers.sending import find_unsent, send
from training.logging.wandb_run import WandbRun
from training.storage.folder import only_process

RUNS = {"a-report": "report", "b-tuned": "finetune", "c-explored": "pretrain"}


@pytest.fixture(autouse=True)
def _nobody_logged_in(monkeypatch, tmp_path):
    for name in ("API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):  # a run sets them; undone after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


@pytest.fixture
def study(tmp_path, wandb_runs):
    """A folder with an offline run of each kind, whose names are not in the order in which to send them."""
    for name, kind in RUNS.items():
        run = WandbRun(tmp_path / "study" / name, project="p", run_id=name, job_type=kind, mode="offline")
        run.log(1, lambda: {"x": 1})
        run.close()
    wandb_runs(tmp_path)  # waits for the files
    return tmp_path / "study"


def test_a_dry_run_lists_phase_1_first(cli, study):
    code, out, err = cli("sync", study.parent, "--dry-run")
    assert (code, err) == (0, "")
    told = [line.split() for line in out.splitlines()]
    assert [(line[0], line[1], line[-1]) for line in told] == [
        (kind, "1", str(study / name))
        for name, kind in sorted(RUNS.items(), key=lambda run: run[0], reverse=True)
    ]
    assert [part.job_type for part in find_unsent(study / "b-tuned")] == ["finetune"]


def test_without_a_login_nothing_is_sent_or_lost(refused, study):
    assert "wandb login" in refused("sync", study)
    assert len(find_unsent(study)) == 3


def test_without_a_network_nothing_is_sent_or_lost(refused, study, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    assert "cannot be reached" in refused("sync", study)
    assert len(find_unsent(study)) == 3


def test_a_folder_that_is_not_there(refused, tmp_path):
    assert "There is no folder" in refused("sync", tmp_path / "none")


def test_what_is_sent_or_under_way_or_empty_is_left_out(study, cli):
    (part,) = find_unsent(study / "a-report")
    part.file.with_name(f"{part.file.name}.synced").touch()
    (empty,) = find_unsent(study / "c-explored")
    empty.file.write_bytes(b"")
    with only_process(study / "b-tuned"):
        assert find_unsent(study) == []
        assert cli("sync", study)[:2] == (0, "Nothing to send.\n")
    assert [part.job_type for part in find_unsent(study)] == ["finetune"]


def test_wandbs_own_command_gets_the_runs_folder(study, monkeypatch):
    calls = []

    def took(command, **options):
        calls.append((command, options))
        part.file.with_name(f"{part.file.name}.synced").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    (part,) = find_unsent(study / "b-tuned")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(sending.subprocess, "run", took)
    send(part)
    ((command, options),) = calls
    assert command[1:] == ["-m", "wandb", "sync", str(part.file.parent)]
    assert "WANDB_MODE" not in options["env"]
    assert find_unsent(study / "b-tuned") == []


def test_what_wandb_does_not_take_is_told_and_kept(study):
    """W&B's real command, which has no login here: its exit code alone would not do."""
    (part,) = find_unsent(study / "b-tuned")
    with pytest.raises(UserError, match=r"did not take .*b-tuned \(.*wandb login"):
        send(part)
    assert len(find_unsent(study)) == 3
