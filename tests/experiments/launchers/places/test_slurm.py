"""Runs as submitit's jobs, by its executor of one machine: the same results, and preemption."""

import dataclasses
import os
import signal

import pytest

from experiments.launchers.launcher import Launcher
from experiments.launchers.places.base import LOST, JobFile
from experiments.launchers.places.slurm import Slurm, SlurmOptions
from experiments.launchers.worker import Job, Task, carry_out
from experiments.studies.presets import find_study
from tests.experiments.launchers.alike import QUIET, children, finished, finished_of, lines, step_of, wait_for
from training import read_config

pytest.importorskip("submitit")
ON_THIS_MACHINE = SlurmOptions(cluster="local", minutes=30)


def job(folder, config):
    file = JobFile(folder.with_suffix(".json"), folder.with_suffix(".txt"))
    Job((Task(str(folder), config),), QUIET).save(file.job)
    file.log.touch()
    return file


def test_a_study_has_the_results_that_it_has_elsewhere(studied, study_file, tmp_path):
    study = find_study(str(study_file(name="catch", conditions=["model"])), None, {"seeds": 1})
    out = tmp_path / "out"
    ended = Launcher(study, out, 2, QUIET, "expedition study x", str, place="slurm,cluster=local").run()
    assert ended == 0
    assert finished(out).items() <= finished_of(0, studied[0]).items()
    assert len(finished(out)) == 3
    assert list((out / "logs" / "submitit").iterdir())


def test_a_preempted_run_saves_and_goes_on_as_if_it_had_not_been(tmp_path, pretrained):
    config = read_config(pretrained)
    seldom = dataclasses.replace(config.training, train_ratio=1.0)
    config = dataclasses.replace(config, steps=600, training=seldom)
    run, whole = tmp_path / "run", tmp_path / "whole"
    file = job(run, config)
    (work,) = Slurm(ON_THIS_MACHINE, tmp_path, 1).begin([file])
    wait_for(lambda: step_of(run) > 100)
    (task,) = children(work._job._process.pid)
    os.kill(task, signal.SIGUSR2)  # what submitit asks Slurm to send
    assert carry_out(config, whole, QUIET, None, None, str).result is not None
    wait_for(lambda: work.poll() is not None)
    assert work.poll() == 0
    assert "Going on from step" in file.log.read_text()
    assert lines(run) == lines(whole)


def test_a_cancelled_job_saves_its_run(tmp_path, pretrained):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    config = dataclasses.replace(read_config(pretrained), steps=1_000_000)
    run = tmp_path / "run"
    (work,) = Slurm(ON_THIS_MACHINE, tmp_path, 1).begin([job(run, config)])
    wait_for(lambda: step_of(run) > 20)
    work.stop()
    wait_for(lambda: work.poll() is not None and list(run.glob("checkpoint-*")))
    assert work.poll() != 0


def test_a_job_that_died_is_lost(tmp_path, pretrained):
    config = dataclasses.replace(read_config(pretrained), steps=1_000_000)
    run = tmp_path / "run"
    (work,) = Slurm(ON_THIS_MACHINE, tmp_path, 1).begin([job(run, config)])
    wait_for(lambda: step_of(run) > 20)
    (task,) = children(work._job._process.pid)
    (child,) = children(task)
    os.kill(task, signal.SIGKILL)
    wait_for(lambda: work.poll() is not None)
    assert work.poll() == LOST
    wait_for(lambda: not os.path.exists(f"/proc/{child}"))  # who lost its parent saves and leaves
    assert list(run.glob("checkpoint-*"))
