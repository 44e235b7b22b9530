"""A whole study on this machine: its results, its order, its end by signals, and what breaks it."""

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest

from expedition import UserError, __version__
from experiments import estimate
from experiments.launchers.launcher import Launcher, _reason, in_groups
from experiments.reporting.records import read_study
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from experiments.trial import Trial
from tests.experiments.launchers.alike import step_of, wait_for
from training import Logistics
from training.storage.folder import only_process

QUIET = Logistics(device="cpu", wandb="off", threads=1)
CELL = {"mean", "iqm", "low", "high", "iqm_low", "iqm_high", "n"}


def launcher(study_file, folder, seeds=1, jobs=2, fused=False, say=lambda line: None, retries=1, **changes):
    study = find_study(str(study_file(**changes)), None, {"seeds": seeds})
    return Launcher(study, folder, jobs, QUIET, "expedition study x", say, fused, retries)


def workers(folder):
    """Processes that work below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode() if entry.name.isdigit() else ""
        except OSError:
            continue
        if "experiments.launchers.worker" in command and str(folder) in command:
            found.append(int(entry.name))
    return found


def steps_of(folder, run="pretrain*"):
    return max((step_of(path) for path in folder.glob(run)), default=0)


def once(condition, action):
    """Do something from beside, as soon as the condition holds."""

    def watch():
        wait_for(condition)
        action()

    threading.Thread(target=watch, daemon=True).start()


def test_the_summary_has_the_promised_form(studied):
    folder, arguments = studied
    summary = json.loads((folder / "summary.json").read_text())
    assert {
        "conditions",
        "contributions",
        "contrasts",
        "environment_steps",
        "wall_seconds",
        "command",
        "version",
    } <= set(summary)
    assert list(summary["conditions"]) == ["scratch", "model", "random policy"]
    assert set(summary["conditions"]["random policy"]) == {"return"}
    for name, metrics in summary["conditions"].items():
        if name != "random policy":
            assert {"return", "open_loop_error_start", "open_loop_error_end"} <= set(metrics)
        assert all(set(cell) == CELL for cell in metrics.values())
    assert summary["contributions"]
    for metrics in summary["contributions"].values():
        assert all(set(cell) == CELL for cell in metrics.values())
    assert summary["environment_steps"] == 2 * (48 + 40 + 40)
    assert summary["wall_seconds"] > 0
    assert summary["version"] == __version__
    assert summary["command"].startswith("expedition study ")
    assert str(arguments[1]) in summary["command"]


def test_the_workers_get_what_was_asked_for(studied):
    jobs = [json.loads(path.read_text()) for path in (studied[0] / "logs").glob("*.json")]
    assert len(jobs) == 8
    assert all(job["logistics"]["compile"] == "off" for job in jobs)


def test_without_contrasts_of_its_own_a_study_compares_with_scratch(studied):
    pairs = [(contrast.better, contrast.baseline) for contrast in read_study(studied[0]).contrasts]
    assert pairs == [("model", "scratch")]


def test_two_seeds_are_too_few_for_intervals(studied):
    folder, _ = studied
    summary = json.loads((folder / "summary.json").read_text())
    cell = summary["conditions"]["model"]["open_loop_error_start"]
    assert cell["n"] == 2
    assert cell["low"] is None
    assert "2 seeds: no interval can be given" in (folder / "report.txt").read_text()
    assert (folder / "report.png").stat().st_size > 10_000


def test_the_summary_is_made_of_the_runs(studied):
    folder, _ = studied
    study = json.loads((folder / "study.json").read_text())
    assert (study["name"], study["seeds"], study["environment"]) == ("catch", [0, 1], "catch-vector")
    assert study["suite_metrics"] == []
    assert [run["condition"] for run in study["runs"]] == [
        None,
        None,
        *["scratch", "model", "random policy"] * 2,
    ]
    values = []
    for run in study["runs"]:
        result = json.loads((folder / run["id"] / "result.json").read_text())
        if run["condition"] == "model":
            values.append(result["metrics"]["open_loop_error_end"])
    summary = json.loads((folder / "summary.json").read_text())
    mean = summary["conditions"]["model"]["open_loop_error_end"]["mean"]
    assert math.isclose(mean, sum(values) / 2, rel_tol=1e-9)


def test_carried_runs_name_the_pretraining_of_their_seed(studied):
    folder, _ = studied
    for seed in (0, 1):
        (run,) = folder.glob(f"model-s{seed}-*")
        (source,) = folder.glob(f"pretrain-s{seed}-*")
        manifest = json.loads((run / "transfer.json").read_text())
        assert manifest["source"]["folder"] == str(source.resolve())
        assert json.loads((run / "config.json").read_text())["transfer"]["plan"] == "model"
        (scratch,) = folder.glob(f"scratch-s{seed}-*")
        assert json.loads((scratch / "transfer.json").read_text())["components"] == {}


def test_the_same_command_again_runs_nothing(studied, cli, no_page, tmp_path):
    folder, arguments = tmp_path / "out", (*studied[1][:-1], tmp_path / "out")
    shutil.copytree(studied[0], folder)  # the report is written again

    def times():
        return {path: path.stat().st_mtime_ns for path in folder.glob("*/*") if path.parent.name != "figures"}

    before = times()
    code, out, _ = cli(*arguments)
    assert code == 0
    assert out.splitlines()[-1] == str(folder)
    assert times() == before


def test_no_worker_is_left(studied):
    assert workers(studied[0]) == []


def test_another_study_does_not_take_the_folder(studied, study_file):
    folder, _ = studied
    with pytest.raises(UserError, match="holds the study 'catch': choose another --out"):
        launcher(study_file, folder)


def test_plan_only_tries_runs_in_processes_side_by_side(study_file, tmp_path, cli):
    flags = ("--seeds", 2, "--jobs", 2, "--plan-only", "--out", tmp_path / "none")
    code, out, err = cli("study", study_file(conditions=["scratch"], contrasts=[]), *flags)
    assert code == 0, err
    assert re.match(r" +2 x finetune, task, model-based: 80 steps at [\d.]+ ms, .* updates at \d+ ms", out)
    assert not (tmp_path / "none").exists()


def test_plan_only_writes_nothing(study_file, tmp_path, cli, monkeypatch):
    monkeypatch.setattr(estimate, "_tried", lambda *_: Trial(1.0, 0.001, 0.1, 0, 1, 1))
    code, out, err = cli("study", study_file(), "--plan-only", "--seeds", 2, "--out", tmp_path / "none")
    assert code == 0
    assert out.splitlines()[0].startswith("   2 x pretrain, disagreement, model-based: 96 steps at ")
    assert out.splitlines()[1].startswith("   4 x finetune, task, model-based: 160 steps at ")
    assert " GiB of memory, " in out.splitlines()[2]
    told = [line for line in err.splitlines() if line.startswith("  ") and "; seed" in line]
    assert told == [
        "  pretrain disagreement: catch-vector, 48 steps; seeds 0 to 1",
        "  scratch: catch-vector, 40 steps; seeds 0 to 1",
        "  model: catch-vector, 40 steps, after pretrain disagreement; seeds 0 to 1",
        "  random policy: catch-vector, only evaluated; seeds 0 to 1",
    ]
    assert "8 runs, 256 steps" in err
    assert "GiB" in err
    assert not (tmp_path / "none").exists()


STEPS = 3_000
LONG = {
    "pretrain_steps": STEPS,
    "conditions": ["model"],
    "pretrain": {"num_envs": 2, "train_ratio": 0.0, "length": 8, "batch": 2, "evaluation_episodes": 1}
    | {"heldout": 4, "context": 2, "open_loop": 4, "learning_starts": 24, "log_every": 20},
}


def test_signals_and_a_killed_worker_lose_nothing(study_file, tmp_path, spawn):
    folder = tmp_path / "out"
    path = study_file(**LONG)

    # Ctrl-C reaches the launcher alone; it asks the worker to save.
    process = spawn("study", path, "--out", folder, "--jobs", 1, "--wandb", "off")
    wait_for(lambda: steps_of(folder) > 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "Saved; run the same command again to go on." in process.said()
    assert "Traceback" not in process.said()
    assert workers(folder) == []
    first = steps_of(folder)
    assert 0 < first < STEPS

    # SIGTERM, in this process, which then has its own handlers again.
    before = signal.getsignal(signal.SIGTERM)
    once(lambda: steps_of(folder) > first, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert launcher(study_file, folder, jobs=1, **LONG).run() == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert workers(folder) == []
    second = steps_of(folder)
    assert first < second < STEPS

    # A worker that is killed is told by its name, and begun again where that is allowed.
    def kill_after(step):
        once(
            lambda: steps_of(folder) > step, lambda: [os.kill(pid, signal.SIGKILL) for pid in workers(folder)]
        )

    kill_after(second)
    with pytest.raises(
        UserError, match=r"^Run pretrain-s0-\w+ failed \(it was ended by SIGKILL.*log is"
    ) as end:
        launcher(study_file, folder, jobs=1, retries=0, **LONG).run()
    assert "1 was not begun, which needs" in str(end.value)
    assert len(list(folder.glob("*/result.json"))) == 1  # the random policy needed nothing
    assert len(json.loads((folder / "study.json").read_text())["failed"]) == 1

    said = []
    it = launcher(study_file, folder, jobs=1, say=said.append, **LONG)
    assert it.wall_seconds > 0  # all sittings count
    kill_after(steps_of(folder))
    assert it.run() == 0
    assert [line for line in said if "SIGKILL" in line and "it is begun again" in line]
    assert len(list(folder.glob("*/result.json"))) == 3
    assert json.loads((folder / "study.json").read_text())["failed"] == {}


def test_a_run_that_fails_gives_its_own_sentence(study_file, tmp_path):
    small_cap = {**LONG["pretrain"], "replay_gib": 1e-9}
    it = launcher(study_file, tmp_path / "out", **{**LONG, "pretrain": small_cap})
    with pytest.raises(UserError) as failure:
        it.run()
    message = str(failure.value)
    assert "too small for one sequence" in message
    assert "the same command goes on from there" in message
    assert message.count(". ") == 0
    assert workers(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (2, "INFO replay\nERROR The disk is full.\nINFO bye\n", "The disk is full"),
        (1, "Traceback\n  x\nValueError: no.\n\n", "ValueError: no"),
        (3, "", "it ended with code 3"),
        (1, "ERROR The disk was full once.\nValueError: no.\n", "ValueError: no"),  # of two tries
        (-9, "INFO replay\n", "it was ended by SIGKILL, perhaps for want of memory"),
        (75, "INFO replay\n", "the machine that it was on is lost, or the cluster ended it"),
        (-11, "INFO replay\n", "it was ended by SIGSEGV"),
        (143, "INFO Saved\n", "it was stopped by SIGTERM"),
    ],
)
def test_the_reason_of_a_failure(tmp_path, code, log, reason):
    (tmp_path / "log").write_text(log)
    assert _reason(code, tmp_path / "log") == reason


def test_the_report_reads_the_studys_own_factorial_and_contrasts(study_file, tmp_path):
    cells = [{"condition": "scratch"}, {"carries": "world", "condition": "model"}]
    contrast = {"label": "over random data", "better": "pretrain:model", "baseline": "pretrain:control"}
    conditions = ["scratch", "model", {"name": "control", "plan": "model", "intrinsic": "random-data"}]
    path = study_file(factorial=cells, contrasts=[contrast], conditions=conditions)
    study = find_study(str(path), None, {})
    it = Launcher(study, tmp_path / "out", 1, QUIET, "x", print)
    (tmp_path / "out").mkdir()
    it._write_study()
    found = read_study(tmp_path / "out")
    assert found.factorial == it.study.crossed()
    assert found.factorial.as_dict() == {
        "components": ["world"],
        "cells": {"": "scratch", "world": "model"},
    }
    assert found.contrasts == it.study.contrasts


def test_folders_of_others_and_broken_plans_are_refused(study_file, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and holds no study"):
        launcher(study_file, tmp_path / "home")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "study.json").write_text("{")
    with pytest.raises(UserError, match="is not whole JSON .*: delete it and run the same command again"):
        launcher(study_file, tmp_path / "torn")


def test_two_launchers_do_not_share_a_folder(study_file, tmp_path):
    it = launcher(study_file, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with only_process(tmp_path / "out"), pytest.raises(UserError, match="Another process is working on"):
        it.run()


@pytest.mark.parametrize("name", ["jobs", "retries"])
def test_negative_numbers_are_refused(study_file, tmp_path, name):
    with pytest.raises(UserError, match=f"number of {name}"):
        launcher(study_file, tmp_path / "out", **{name: -1})


def test_cores_are_shared_out(study_file, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    study, settings = find_study(str(study_file()), None, {}), Logistics(device="cpu", wandb="off")
    it = Launcher(study, tmp_path / "out", 2, settings, "x", print)
    assert it.place.threads == {
        "pretrain": 8,
        "finetune": 4,
    }  # one run that the others wait for, then two at a time
    assert not it.logistics.progress
    assert it.logistics.group == "out"
    four = dataclasses.replace(study, seeds=4)
    assert Launcher(four, tmp_path / "out", 8, settings, "x", print).place.threads["pretrain"] == 2
    fixed = dataclasses.replace(settings, threads=3)
    assert Launcher(study, tmp_path / "out", 2, fixed, "x", print).place.threads["pretrain"] == 3


def test_seeds_of_a_condition_are_fused_but_beside_priors(study_file):
    plans = ["scratch", "model", "policy", "encoder=freeze:30", "encoder=freeze"]
    study = find_study(str(study_file(conditions=plans)), None, {"seeds": 2})
    runs = planned_runs(study)
    told = [[(run.plan, run.seed) for run in group] for group in in_groups(runs, fused=True)]
    fused = [[(plan, 0), (plan, 1)] for plan in (None, "scratch", "model", "encoder=freeze")]
    # The last are the random policy's.
    alone = [[(plan, seed)] for plan in ("policy", "encoder=freeze:30", "scratch") for seed in (0, 1)]
    assert sorted(told, key=str) == sorted(fused + alone, key=str)
    assert in_groups(runs, fused=False) == [[run] for run in runs]


def test_conditions_of_one_plan_from_two_sources_are_two_groups(study_file):
    control = {"name": "control", "plan": "model", "intrinsic": "none"}
    study = find_study(str(study_file(conditions=["model", control])), None, {"seeds": 2})
    told = [[run.condition for run in group] for group in in_groups(planned_runs(study), fused=True)]
    assert (
        told
        == [[None, None], [None, None], ["model", "model"], ["control", "control"]] + [["random policy"]] * 2
    )


def test_runs_that_learn_from_plans_go_by_themselves(study_file):
    conditions = [{"name": name, "plan": "scratch", "search": name} for name in ("eval", "learn")]
    study = find_study(str(study_file(conditions=conditions)), None, {"seeds": 2})
    told = [[run.condition for run in group] for group in in_groups(planned_runs(study), fused=True)]
    assert sorted(told) == [["eval", "eval"], ["learn"], ["learn"], ["random policy"], ["random policy"]]


def test_a_fused_study_says_how_many_processes(study_file, tmp_path):
    said = []
    study = find_study(str(study_file()), None, {"seeds": 3})
    Launcher(study, tmp_path / "no", 2, QUIET, "x", said.append, True).announce()
    assert "12 runs in 6 processes" in "\n".join(said)


def test_a_fused_study_stops_and_goes_on(study_file, tmp_path):
    folder = tmp_path / "out"
    it = launcher(study_file, folder, seeds=2, fused=True, pretrain_steps=400, conditions=["model"])
    assert len(it.groups) == 4  # the random policy's are by themselves
    once(lambda: steps_of(folder, "pretrain-s0*") > 40, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert it.run() == 130
    assert workers(folder) == []
    assert [40 < steps_of(folder, f"pretrain-s{seed}*") < 400 for seed in (0, 1)] == [True, True]
    assert it.run() == 0
    assert len(list((folder / "logs").glob("*.json"))) == 4
    for run in it.runs:
        steps = json.loads((folder / run.id / "result.json").read_text())["environment_steps"]
        assert steps >= 40 or (steps, run.condition) == (0, "random policy")
        config = json.loads((folder / run.id / "config.json").read_text())
        assert config["seed"] == run.seed


def test_a_study_says_what_phase_2_sets_for_itself(study_file, tmp_path):
    said = []
    own = {"optimizer": {"lr": 0.5}}
    study = find_study(str(study_file(finetune_agent=own)), None, {})
    Launcher(study, tmp_path / "out", 1, Logistics(wandb="off"), "x", said.append).announce()
    assert (
        "  Phase 2 sets for itself (phase 1 had): behaviour.entropy 0.003 (0.01), optimizer.lr 0.5 (0.001)"
        in said
    )
    from_scratch = dataclasses.replace(study, conditions=study.conditions[:1])  # there is no phase 1
    for silent in (dataclasses.replace(study, finetune_agent=()), from_scratch):
        Launcher(silent, tmp_path / "out", 1, Logistics(wandb="off"), "x", said.append).announce()
    assert sum("Phase 2 sets" in line for line in said) == 1
