"""Phase 1 from the replays of several explorers: the graph, the sentences, a study to its end."""

import dataclasses
import json
import os
import shutil
import signal
import threading

import pytest

from expedition import UserError
from experiments.estimate import _kept_rows, until_all_end
from experiments.launchers.graph import Graph
from experiments.launchers.launcher import Launcher, in_groups
from experiments.launchers.status import run_statuses, told_status
from experiments.reporting.page.commands import commands
from experiments.reporting.page.lineage import run_graph
from experiments.reporting.publish import publish
from experiments.reporting.records import read_study
from experiments.studies.named.diversity import PLANS, SEVERAL, of_replays
from experiments.studies.presets import BUDGETS, find_study
from experiments.studies.runs import planned_runs
from experiments.studies.telling import told_runs
from tests.experiments.launchers.alike import (
    QUIET,
    InThisProcess,
    descendants,
    finished,
    lines,
    wait_for,
)
from training.budget import most_rows, planned_updates
from training.storage.folder import read_config

TWO = [{}, {"intrinsic": "rnd", "seed": 1000, "weight": 2}]


def study_of(study_file, seeds=1, **changes):
    """One explorer's condition and one that learns from two replays, at the same steps."""
    training = json.loads(study_file().read_text())["pretrain"] | changes.pop("pretrain", {})
    settings = {
        "pretrain_steps": 120,
        "pretrain": training,
        "conditions": ["scratch", "model", {"name": "model of two", "plan": "model", "data": TWO}],
        **changes,
    }
    return find_study(str(study_file(**settings)), None, {"seeds": seeds})


def of_phase_1(study):
    """The whole explorer, the two that gather, and the one that learns from them."""
    return [run for run in planned_runs(study) if run.plan is None]


def learner_of(study):
    return of_phase_1(study)[-1]


# The graph


def test_explorers_share_the_steps_and_one_learns_from_them(study_file):
    study = study_of(study_file, seeds=2)
    whole, first, second, learner = of_phase_1(study)[:4]
    assert [run.config.steps for run in (whole, first, second, learner)] == [120, 60, 60, 0]
    assert [run.config.seed for run in (first, second)] == [0, 1000]
    assert [run.seed for run in (first, second, learner)] == [0, 0, 0]  # paired with the others of the seed
    assert [run.config.intrinsic for run in (first, second, learner)] == [
        "disagreement",
        "rnd",
        "disagreement",
    ]
    room = study.pretrain.replay_gib
    assert [run.config.training.replay_gib for run in (first, second, learner)] == [room / 2, room / 2, room]
    assert learner.data == {first.id: 1.0, second.id: 2.0}
    assert learner.config.training.offline_updates == planned_updates(whole.config) > 0
    assert learner.waits_for == (first.id, second.id)
    needs = {run.condition: run.needs for run in planned_runs(study) if run.plan and run.seed == 0}
    assert (needs["model"], needs["model of two"]) == (whole.id, learner.id)


def test_explorers_are_shared_by_all_who_need_them(study_file):
    conditions = [
        "model",
        {"name": "of one", "plan": "model", "data": [{}]},
        {"name": "of two", "plan": "model", "data": TWO},
        {"name": "both of two", "plan": "model+policy", "data": TWO},
        {"name": "of two, alike", "plan": "model", "data": [{}, {"seed": 1000}]},
    ]
    study = study_of(study_file, conditions=conditions)
    runs = planned_runs(study)
    needs = {run.condition: run for run in runs if run.plan}
    source = {name: next(r for r in runs if r.id == run.needs) for name, run in needs.items() if run.needs}
    assert list(source["of one"].data) == [source["model"].id]  # the one that `model` carries from
    assert source["of two"] is source["both of two"]
    assert set(source["of two"].data) & set(source["of two, alike"].data) == {list(source["of two"].data)[0]}
    assert len(of_phase_1(study)) == 1 + 1 + 2 + 1 + 1 + 1
    assert len({run.id for run in runs}) == len(runs)


def test_weights_and_explorers_make_another_run(study_file):
    def learner(data):
        return of_phase_1(study_of(study_file, conditions=[{"name": "x", "plan": "model", "data": data}]))[
            -1
        ].id

    told = [TWO, [{}, {"intrinsic": "rnd", "seed": 1000}], [{}, {"intrinsic": "rnd", "weight": 2}], TWO[:1]]
    assert len({learner(data) for data in told}) == len(told)
    assert learner(TWO) == learner(TWO)


def test_who_learns_from_replays_waits_for_all_of_them(study_file):
    runs = planned_runs(study_of(study_file))
    whole, first, second, learner = (run.id for run in runs if run.plan is None)
    graph = Graph([[run] for run in runs], [], 0)

    def ready():
        return {run.id for group in graph.ready() for run in group}

    assert {whole, first, second} <= ready()
    assert learner not in ready()
    graph.succeed([next(run for run in runs if run.id == first)])
    assert learner not in ready()
    graph.succeed([next(run for run in runs if run.id == second)])
    assert learner in ready()
    tuned = next(run for run in runs if run.needs == learner)
    assert tuned.id not in ready()


def test_an_explorer_that_fails_takes_the_learner_with_it(study_file):
    runs = planned_runs(study_of(study_file))
    graph = Graph([[run] for run in runs], [], 0)
    while ready := graph.ready():
        graph.begin(ready[0])
        if ready[0][0].config.seed == 1000:
            graph.fail(ready[0], "the disk is full", crashed=False)
        else:
            graph.succeed(ready[0])
    assert graph.not_begun() == 2  # the learner, and what carries from it
    assert len(graph.finished) == len(runs) - 3


def test_explorers_are_fused_and_learners_are_not(study_file):
    groups = in_groups(planned_runs(study_of(study_file, seeds=2)), fused=True)
    told = [sorted(run.config.seed for run in group) for group in groups if group[0].plan is None]
    assert told == [[0, 1], [0, 1], [1000, 1001], [0], [1]]


def test_the_estimate_waits_for_all_and_counts_their_rows(study_file):
    study = study_of(study_file, conditions=[{"name": "two", "plan": "model", "data": TWO}])
    runs = planned_runs(study)
    first, second, learner = (run for run in runs if run.plan is None)
    seconds = {run.id: 1.0 for run in runs} | {first.id: 10.0, second.id: 4.0, learner.id: 100.0}
    assert until_all_end(runs, seconds, 8) == 10 + 100 + 1
    assert until_all_end(runs, seconds, 1) == 10 + 4 + 100 + 1 + 1  # and the random policy
    rows, envs = _kept_rows(runs), study.pretrain.num_envs
    assert rows[learner.id] == rows[first.id] + rows[second.id] == 2 * envs * most_rows(60, envs)


def test_what_is_planned_says_from_whom(study_file):
    told = told_runs(planned_runs(study_of(study_file, seeds=3)))
    assert told[1:4] == [
        "pretrain disagreement: catch-vector, 60 steps; seeds 0 to 2",
        "pretrain rnd: catch-vector, 60 steps; seeds 1000 to 1002",
        "pretrain disagreement, from 2 replays: catch-vector, 24 updates, after pretrain disagreement and "
        "pretrain rnd; seeds 0 to 2",
    ]
    assert any(
        line.startswith("model of two: ") and "after pretrain disagreement, from 2 replays" in line
        for line in told
    )
    alike = [{"name": "x", "plan": "model", "data": [{}, {"seed": 1000}, {"seed": 2000}]}]
    told = told_runs(planned_runs(study_of(study_file, seeds=3, conditions=alike)))
    assert told[0].endswith(", 40 steps; seeds 0 to 2, 1000 to 1002, 2000 to 2002")
    assert ", after 3 x pretrain disagreement; seeds 0 to 2" in told[1]


# What is refused


@pytest.mark.parametrize(
    ("condition", "changes", "sentence"),
    [
        ({"plan": "scratch"}, {}, "'x' learns from replays and carries nothing of it: leave data out"),
        ({"data": [{}, {"weight": 2}]}, {}, "'x' learns from one explorer twice"),
        ({"data": [{}, {"intrinsic": "disagreement"}]}, {}, "'x' learns from one explorer twice"),
        ({"data": [{"weight": 0}]}, {}, "data.weight is 0.0: it must be a number above 0"),
        ({"data": [{"seed": -1}]}, {}, "data.seed is -1"),
        ({"data": [{"intrinsic": "curiosity"}]}, {}, "'curiosity'"),
        ({"data": [{"explores": "cathc"}]}, {}, "'cathc'"),
        ({"data": [{"steps": 3}]}, {}, "Unknown settings in Gathered: steps"),
        ({}, {"pretrain_steps": 1}, "'x' has 2 explorers that share 1 steps: raise pretrain_steps"),
        ({}, {"pretrain_steps": 20}, "which is none: raise pretrain_steps or pretrain.train_ratio"),
        ({"explorer": "ppo"}, {}, "PPO explores nothing"),
        ({"intrinsic": "language"}, {"env": "mazes-goal,observe=symbols"}, "data of others have no captions"),
    ],
)
def test_what_means_nothing_is_told(study_file, condition, changes, sentence):
    told = {"name": "x", "plan": "model", "data": TWO, **condition}
    with pytest.raises(UserError, match=sentence):
        planned_runs(study_of(study_file, conditions=[told], **changes))


def test_phase_1_may_be_compared_where_it_learned_from_others(study_file):
    contrast = {"label": "x", "better": "pretrain:model of two", "baseline": "pretrain:model"}
    assert study_of(study_file, contrasts=[contrast]).contrasts


def carried_out(study, folder, say=str):
    launcher = Launcher(study, folder, 1, QUIET, "expedition study x", say, retries=0)
    launcher.place = InThisProcess()
    return launcher.run()


def test_replays_of_other_spaces_are_told(study_file, tmp_path):
    data = [{}, {"explores": "CartPole-v1"}]
    study = study_of(study_file, conditions=[{"name": "x", "plan": "model", "data": data}])
    with pytest.raises(UserError) as error:
        carried_out(study, tmp_path / "out")
    assert "act by Discrete(2), and 'catch-vector' by Discrete(3)" in str(error.value)
    assert str(error.value).endswith("--env (in a study: explores).")


# A study to its end

LEARNING = {"train_ratio": 16.0}
"""Some hundred updates from two replays, so that it can be cut off amid."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    from tests.experiments.conftest import write_study_file

    path = tmp_path_factory.mktemp("several") / "study.yaml"
    contrast = {"label": "two over scratch", "better": "model of two", "baseline": "scratch"}
    conditions = ["scratch", {"name": "model of two", "plan": "model", "data": TWO}]
    cells = [{"condition": "scratch"}, {"condition": "model of two", "carries": "model"}]
    return study_of(
        lambda **changes: write_study_file(path, **changes),
        pretrain_steps=120,
        pretrain=LEARNING,
        conditions=conditions,
        contrasts=[contrast],
        factorial=cells,
    )


@pytest.fixture(scope="module")
def calm(study, tmp_path_factory):
    """The study's folder, carried out without a disturbance; nobody writes to it."""
    folder = tmp_path_factory.mktemp("calm") / "out"
    assert carried_out(study, folder) == 0
    publish(folder, QUIET)
    return folder


def test_it_learns_from_both_replays_by_their_weights(study, calm):
    first, second, learner = of_phase_1(study)
    carried = json.loads((calm / learner.id / "transfer.json").read_text())["data"]
    assert [entry["weight"] for entry in carried.values()] == [1.0, 2.0]
    assert [entry["name"].rpartition("/")[2] for entry in carried.values()] == [first.id, second.id]
    result = json.loads((calm / learner.id / "result.json").read_text())
    assert (result["environment_steps"], result["updates"]) == (0, learner.config.training.offline_updates)
    tuned = next(run for run in planned_runs(study) if run.needs == learner.id)
    assert json.loads((calm / tuned.id / "transfer.json").read_text())["components"]["dynamics"]


def test_the_report_tells_them_apart(study, calm):
    summary = json.loads((calm / "summary.json").read_text())
    assert summary["environment_steps"] == 2 * 60 + 2 * 40
    assert summary["contributions"]["total gain"]["return"]["n"] == 1
    assert summary["contrasts"]["two over scratch"]["return"]["n"] == 1
    record = read_study(calm)
    learned = "disagreement, model-based, from 2 replays (model of two)"
    explorers = ["disagreement, model-based", "rnd, model-based, seed + 1,000"]
    assert list(record.explorers()) == [*explorers, learned]
    graph = {node.name: [child.name for child in node.children] for node in run_graph(record)}
    assert graph[f"{learned}: {'; '.join(explorers)}"] == ["model of two"]
    assert graph[explorers[0]] == []
    page = (calm / "report.html").read_text()
    first, second, learner = (run.id for run in of_phase_1(study))
    assert f"{first}, {second}" in page
    assert f"--data {first}=1.0 {second}=2.0" in commands(record)[learner]
    told = list(told_status(calm, run_statuses(calm)))
    updates = learner_of(study).config.training.offline_updates
    assert any(line.split() == [learner, "done", str(updates), "updates"] for line in told)


def test_killed_and_stopped_amid_learning_it_ends_the_same(study, calm, tmp_path):
    folder, learner = tmp_path / "out", learner_of(study).id
    tuned = next(run.id for run in planned_runs(study) if run.needs == learner)
    shutil.copytree(calm, folder)
    for run in (learner, tuned):
        shutil.rmtree(folder / run)

    others = set(descendants(os.getpid()))  # what tests before this one left

    def disturb():
        wait_for((folder / learner / "status.json").exists)  # it has begun to learn
        (worker,) = set(descendants(os.getpid())) - others
        os.kill(worker, signal.SIGKILL)
        (folder / learner / "status.json").unlink()
        wait_for((folder / learner / "status.json").exists)  # it was begun again
        os.kill(os.getpid(), signal.SIGTERM)

    said = []
    threading.Thread(target=disturb, daemon=True).start()
    launcher = Launcher(study, folder, 1, QUIET, "x", said.append)
    assert launcher.run() == 143
    assert any("was ended by SIGKILL" in line and "begun again" in line for line in said)
    assert not (folder / learner / "result.json").exists()
    launcher = Launcher(study, folder, 1, QUIET, "x", said.append)
    launcher.place = InThisProcess()
    assert launcher.run() == 0
    assert launcher.place.begun == [learner, tuned]  # the explorers were finished
    assert finished(folder) == finished(calm)
    assert lines(folder / learner) == lines(calm / learner)


def test_an_explorer_without_its_replay_is_told(study, calm, tmp_path):
    folder, learner = tmp_path / "out", learner_of(study).id
    shutil.copytree(calm, folder)
    shutil.rmtree(folder / learner)
    first = of_phase_1(study)[0].id
    for file in (folder / first).glob("checkpoint-*/replay.*"):
        file.unlink()
    with pytest.raises(UserError) as error:
        carried_out(study, folder)
    assert "Cannot read 'replay' in checkpoint" in str(error.value)
    assert first in str(error.value)


def test_another_study_takes_it_over(study, calm, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(calm, root / "first")
    again = dataclasses.replace(study, name="again")
    launcher = Launcher(again, root / "again", 1, QUIET, "x", str, shared=root)
    launcher.place = InThisProcess()
    assert launcher.run() == 0
    assert launcher.place.begun == []
    assert finished(root / "again") == finished(calm)


def test_full_rings_fit_into_the_learners(study_file, tmp_path):
    """Where rings hold fewer rows than were made, those of all explorers fit into one of the study's size."""
    tight = {"replay_gib": 20_000 / 2**30, "train_ratio": 1.0}
    data = [{}, {"seed": 1000}, {"seed": 2000}]
    conditions = [{"name": "x", "plan": "model", "data": data}]
    study = study_of(study_file, pretrain_steps=480, pretrain=tight, conditions=conditions)
    folder = tmp_path / "out"
    assert carried_out(study, folder) == 0
    *explorers, learner = (run for run in planned_runs(study) if run.plan is None)
    rows = [
        entry["rows"]
        for entry in json.loads((folder / learner.id / "config.json").read_text())["data"].values()
    ]
    assert len(rows) == len(explorers) == 3
    assert all(row < 160 for row in rows)
    assert read_config(folder / learner.id).steps == 0


# The study that asks for it


@pytest.mark.parametrize("budget", BUDGETS)
def test_explorers_differ_and_nothing_else(budget):
    study = find_study("diversity-explorers", budget, {"seeds": 1})
    runs = planned_runs(study)
    needs = {run.condition: run.needs for run in runs if run.plan}
    by_id = {run.id: run for run in runs}
    one, several = (by_id[needs[of_replays("model", n)]] for n in (1, SEVERAL))
    assert {needs[of_replays(plan, SEVERAL)] for plan in PLANS} == {several.id}
    assert one.config == several.config
    assert [by_id[run].config.steps for run in several.data] == [study.pretrain_steps // SEVERAL] * SEVERAL
    (explorer,) = one.data
    assert explorer == needs["model+policy, 30 levels"]
    assert len({dataclasses.replace(by_id[run].config, seed=0) for run in several.data}) == 1


def test_it_shares_what_the_study_of_levels_has(study_file):
    levels, explorers = (
        {run.id: run for run in planned_runs(find_study(name, None, {"first_seed": 40}))}
        for name in ("diversity", "diversity-explorers")
    )
    shared = {run.condition or "explorer" for key, run in explorers.items() if key in levels}
    assert shared == {"explorer", "scratch", "model+policy, 30 levels", "random policy"}
    assert list(find_study("diversity-explorers", None, {}).curved().factorials) == [1, SEVERAL]
