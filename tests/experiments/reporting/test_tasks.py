"""Studies of several tasks: success or returns normalised by task, each task also by itself."""

import json
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments.reporting.closing import closing
from experiments.reporting.drawing.figure import draw_report
from experiments.reporting.drawing.learning import draw_curves, is_evaluated, seed_lines
from experiments.reporting.metrics import error_unit
from experiments.reporting.records import read_study
from experiments.reporting.report import WIDTH, format_table
from experiments.reporting.summary import summarise

RETURNS = {  # task -> condition -> mean final return; the tasks' units differ by a hundred
    "arm-lift": {"scratch": 2.0, "model": 5.0, "random policy": 1.0},
    "arm-push": {"scratch": 100.0, "model": 500.0, "random policy": 300.0},
}


def write_tasks(folder, write_study, returns=RETURNS, seeds=(0, 1, 2), extra=lambda seed: {}, observed=()):
    """Write a made-up study whose final returns are `returns` plus 0.1 for each seed."""
    runs, head = [], {}
    for number, (task, means) in enumerate(returns.items()):
        part = write_study(
            folder / f"part{number}", seeds, ("scratch", "model"), ", ".join(returns), suite=False
        )
        head = json.loads((part / "study.json").read_text())
        for run in head["runs"] if number == 0 else [r for r in head["runs"] if r["phase"] == "finetune"]:
            new = run | {"id": f"{run['id']}-{number}", "env": task, "kind": "model-based"}
            shutil.move(part / run["id"], folder / new["id"])
            runs.append(new)
        for seed in seeds if "random policy" in means else ():
            run = {"id": f"random-s{seed}-{number}", "phase": "finetune", "condition": "random policy"}
            runs.append(run | {"seed": seed, "env": task, "kind": "random"})
            (folder / run["id"]).mkdir()
            (folder / run["id"] / "status.json").write_text(json.dumps({"state": "finished", "env_step": 0}))
            (folder / run["id"] / "result.json").write_text(
                json.dumps({"metrics": {}, "environment_steps": 0})
            )
        shutil.rmtree(part)
    for run in runs:
        path = folder / run["id"] / "result.json"
        result = json.loads(path.read_text()) | {"observed": list(observed)}
        if run["phase"] == "finetune":
            mean = returns[run["env"]][run["condition"]]
            result["metrics"] |= {"return": mean + 0.1 * run["seed"]} | extra(run["seed"])
        path.write_text(json.dumps(result))
    (folder / "study.json").write_text(json.dumps(head | {"runs": runs}))
    return folder


def test_returns_are_normalised_by_task(tmp_path, write_study):
    study = read_study(write_tasks(tmp_path, write_study))
    assert study.score == "normalised_return"
    assert study.scales == {"arm-lift": pytest.approx((1.1, 5.1)), "arm-push": pytest.approx((300.1, 500.1))}
    found = summarise(study)
    worth = {name: row["normalised_return"]["mean"] for name, row in found["conditions"].items()}
    assert worth == pytest.approx({"random policy": 0.0, "model": 1.0, "scratch": (0.25 - 1) / 2})
    assert found["answer"]["metric"] == "normalised_return"
    assert found["answer"]["contrast"] == "model over scratch"
    assert found["answer"]["mean"] == pytest.approx(1.375)
    assert list(found["contrasts"]) == ["model over scratch"]  # chance is in none unless named
    assert "normalised_return" in found["profiles"]


def test_each_task_stands_by_itself_in_its_own_unit(tmp_path, write_study):
    found = summarise(read_study(write_tasks(tmp_path, write_study)))
    assert list(found["tasks"]) == list(RETURNS)
    for task, means in RETURNS.items():
        cells = {name: row["return"]["mean"] for name, row in found["tasks"][task]["conditions"].items()}
        assert cells == pytest.approx({name: mean + 0.1 for name, mean in means.items()})
    text = format_table(found)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "arm-push (normalised: 300 is 0, 500 is 1):" in text
    assert "Normalised by task: 0 is the random policy's mean return, 1 that of the best condition." in text
    over_all = text.split("arm-lift (")[0]
    assert "0 to 1 by task" in over_all
    assert "per episode" not in over_all
    assert "random policy" in closing(found, tmp_path)


def test_success_counts_where_the_suite_tells_it(tmp_path, write_study):
    folder = write_tasks(tmp_path, write_study, extra=lambda seed: {"success": 0.25 * (1 + seed)})
    study = read_study(folder)
    assert study.score == "success_rate"
    found = summarise(study)
    assert found["conditions"]["model"]["success_rate"]["mean"] == pytest.approx(50)
    assert found["answer"]["metric"] == "success_rate"
    assert "success" in closing(found, folder)


def test_success_that_hardly_anybody_has_decides_nothing(tmp_path, write_study):
    folder = write_tasks(tmp_path, write_study, extra=lambda seed: {"success_rate": 2.0 * seed})
    assert read_study(folder).score == "normalised_return"  # 2 % of the episodes at best


def test_a_task_that_nobody_does_better_at_than_chance_has_no_scale(tmp_path, write_study):
    poor = {**RETURNS, "arm-push": {"scratch": 1.0, "model": 2.0, "random policy": 3.0}}
    study = read_study(write_tasks(tmp_path, write_study, poor))
    found = summarise(study)
    assert list(study.scales) == ["arm-lift"]
    assert found["conditions"]["model"]["normalised_return"]["mean"] == pytest.approx(1)
    assert "No condition does better than the random policy on arm-push: not normalised." in found["notes"]
    assert found["tasks"]["arm-push"]["scale"] is None


def test_a_contrast_on_one_task_and_what_another_takes_off(tmp_path, write_study):
    folder = write_tasks(tmp_path, write_study)
    head = json.loads((folder / "study.json").read_text())
    sides = {"better": "model", "baseline": "scratch"}
    head["contrasts"] = [
        {"label": "lift", **sides, "task": "arm-lift"},
        {"label": "lift over push", **sides, "task": "arm-push", "less_on": "arm-lift"},
        {"label": "mean", **sides},
    ]
    (folder / "study.json").write_text(json.dumps(head))
    study = read_study(folder)
    found = summarise(study)["contrasts"]
    assert found["lift"]["return"]["mean"] == pytest.approx(3)
    assert found["lift"]["return"]["probability"] == 1
    assert found["lift over push"]["return"]["mean"] == pytest.approx(400 - 3)
    assert found["lift over push"]["normalised_return"]["mean"] == pytest.approx(400 / 200 - 3 / 4)
    assert found["lift over push"]["return"]["n"] == 3
    assert "probability" not in found["lift over push"]["return"]
    assert found["mean"]["return"]["mean"] == pytest.approx((400 + 3) / 2)
    differences, odds = format_table(summarise(study)).split("Probability that a run")
    assert ("lift over push" in differences, "lift over push" in odds) == (True, False)
    draw_report(study, tmp_path / "figure.png")


def test_a_question_on_one_task_names_it(tmp_path, write_study):
    folder = write_tasks(tmp_path, write_study)
    head = json.loads((folder / "study.json").read_text())
    head["question"] = {"better": "model", "baseline": "scratch", "metric": "return", "task": "arm-lift"}
    (folder / "study.json").write_text(json.dumps(head))
    found = summarise(read_study(folder))["answer"]
    assert found["mean"] == pytest.approx(3)
    assert "over scratch on arm-lift" in found["sentence"]


def test_a_control_with_more_steps_leaves_the_curves_their_length(tmp_path, write_study):
    folder = write_study(tmp_path, (0, 1, 2), ("scratch", "model"), suite=False)
    for seed in (0, 1, 2):
        run = folder / f"scratch-s{seed}"
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps(result | {"environment_steps": 40_000}))
        (run / "episodes.jsonl").write_text(
            "".join(
                json.dumps({"env_step": step, "return": 1.0}) + "\n" for step in range(1000, 40_001, 1000)
            )
        )
    shutil.copytree(folder / "model-s0", folder / "model-s3")
    head = json.loads((folder / "study.json").read_text())
    (one,) = (run for run in head["runs"] if run["id"] == "model-s0")
    head["runs"].append(one | {"id": "model-s3", "seed": 3})
    (folder / "study.json").write_text(json.dumps(head))
    study = read_study(folder)
    assert study.steps == 4000
    part = Figure().subfigures(1, 1)
    draw_curves(part, study)
    assert part.axes[0].get_xlim()[1] < 5000


def test_one_task_is_not_normalised(tmp_path, write_study):
    study = read_study(write_tasks(tmp_path, write_study, {"arm-lift": RETURNS["arm-lift"]}))
    found = summarise(study)
    assert (study.score, study.scales, found["tasks"]) == ("return", {}, {})
    assert not any("area" in note or "random" in note for note in found["notes"])  # chance ends no episode
    assert found["answer"]["mean"] == pytest.approx(3)


@pytest.mark.parametrize("success", [False, True])
def test_the_figure_holds_for_several_tasks_and_long_names(tmp_path, write_study, success):
    names = {f"robodesk-{task}_with_a_long_name,observe=state": RETURNS["arm-lift"] for task in "abcdef"}
    extra = (lambda seed: {"success": 0.25 * (1 + seed)}) if success else (lambda seed: {})
    folder = write_tasks(tmp_path, write_study, names, range(5), extra)
    with Image.open(draw_report(read_study(folder), folder / "report.png")) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 15
    assert min(pixels[:4].min(), pixels[-4:].min(), pixels[:, :4].min(), pixels[:, -4:].min()) == 255


def test_seeds_are_lines_and_tasks_are_not(tmp_path, write_study):
    study = read_study(write_tasks(tmp_path, write_study))
    found = [(run, (np.array([0.0, 10.0]), np.array([0.0, 1.0 + run.seed]))) for run in study.of("model")]
    lines = seed_lines(found, np.array([0.0, 5.0, 10.0]), evaluated=True)
    assert lines == pytest.approx(np.array([[0, 0.5 * (1 + s), 1.0 + s] for s in range(3)]))


def test_curves_are_those_of_evaluations_where_all_runs_have_them(tmp_path, write_study):
    study = read_study(write_tasks(tmp_path, write_study))
    assert not is_evaluated(study)
    for run in study.finetuning:
        if run.learns:
            told = [{"env_step": 0, "evaluation_start/return": 0.0}, {"env_step": 5, "loss": 1.0}]
            told += [{"env_step": step, "evaluation/return": step / 10} for step in (10, 20, 20)]
            (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    steps, values = study.of("model")[0].evaluations()
    assert (steps.tolist(), values.tolist()) == ([0, 10, 20], [0, 1, 2])
    assert is_evaluated(study)


@pytest.mark.parametrize(
    ("observed", "unit"),
    [
        (["image"], "per pixel on [0, 1]"),
        (["vector"], "per value, symlog"),
        (["symbols"], "per probability"),
        (["vector", "image"], "per pixel on [0, 1] or per value, symlog"),
        ([], "per value"),
    ],
)
def test_errors_are_told_in_the_unit_of_what_was_observed(tmp_path, write_study, observed, unit):
    folder = write_tasks(tmp_path, write_study, observed=observed)
    assert error_unit(observed) == unit
    assert f"squared error {unit}; a negative" in " ".join(
        format_table(summarise(read_study(folder))).split()
    )
