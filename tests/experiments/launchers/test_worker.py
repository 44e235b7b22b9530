"""One run in a process of its own."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.launchers import worker
from experiments.launchers.worker import Job, Task, carry_out
from training import Logistics, from_dict, read_config

QUIET = Logistics(device="cpu", wandb="off", progress=False, tags=("mine",))


def job(run_dir, config, plan=None, source=None):
    return Job((Task(str(run_dir), config, plan, source),), QUIET)


@pytest.fixture
def config(pretrained):
    return read_config(pretrained)


def test_a_job_survives_its_file(tmp_path, config):
    it = job(tmp_path / "run", config, "model", "somewhere")
    it.save(tmp_path / "job.json")
    assert from_dict(Job, json.loads((tmp_path / "job.json").read_text())) == it


@pytest.mark.parametrize(
    ("plan", "tags"),
    [
        ("model+policy", ["mine", "model+policy", "disagreement"]),
        ("scratch", ["mine", "scratch"]),
    ],
)
def test_fine_tuning_is_tagged_by_what_it_carries(monkeypatch, tmp_path, pretrained, config, plan, tags):
    asked = []
    monkeypatch.setattr(worker, "execute", lambda *arguments: asked.append(arguments))
    carry_out(
        from_dict(type(config), {**_plain(config), "phase": "finetune", "intrinsic": None}),
        tmp_path / "run",
        QUIET,
        plan,
        pretrained,
        print,
    )
    _, _, logistics, record, transfer, _ = asked[0]
    assert list(logistics.tags) == tags
    assert record["transfer"]["plan"] == transfer.plan.name == plan


def _plain(config):
    from training import to_dict

    return to_dict(config)


def test_pretraining_transfers_nothing(monkeypatch, tmp_path, config):
    asked = []
    monkeypatch.setattr(worker, "execute", lambda *a, **k: asked.append((a, k)))
    carry_out(config, tmp_path / "run", QUIET, None, None, print)
    (_, _, _, record, initialiser, _), _ = asked[0]
    assert record is initialiser is None


def test_what_a_user_can_mend_is_one_line_of_the_log(monkeypatch, tmp_path, config, caplog):
    source = str(tmp_path / "nowhere")
    job(tmp_path / "run", config, "model", source).save(tmp_path / "job.json")
    plain = json.loads((tmp_path / "job.json").read_text())
    plain["tasks"][0]["config"] |= {"phase": "finetune", "intrinsic": None}
    (tmp_path / "job.json").write_text(json.dumps(plain))
    monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path / "job.json")])
    assert worker.main() == 2
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [f"There is no run at {source}: give --from the folder of a pre-training run."]


def test_a_worker_whose_study_is_gone_saves_and_leaves(tmp_path, config):
    """The shell between us ends at once, as a launcher that is killed does."""
    plain = _plain(config) | {"steps": 10_000_000}
    plain["training"]["train_ratio"] = 0.0
    run = tmp_path / "run"
    script = (
        f"EXPEDITION_PARENT=$$ {sys.executable} -m experiments.launchers.worker {tmp_path / 'job.json'}"
        f" > {tmp_path / 'log'} 2>&1 &"
        f" echo $!; while [ ! -f {run / 'status.json'} ]; do sleep 0.1; done"
    )
    parent = subprocess.Popen(
        ["bash", "-c", f"while [ ! -f {tmp_path / 'job.json'} ]; do sleep 0.02; done; {script}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    job(run, from_dict(type(config), plain)).save(tmp_path / "job.json")
    child = int(parent.stdout.readline())
    try:
        parent.wait(60)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not list(run.glob("checkpoint-*")):
            time.sleep(0.1)
        assert list(run.glob("checkpoint-*"))
        while time.monotonic() < deadline and alive(child):
            time.sleep(0.1)
        assert not alive(child)
        assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
