"""Reading study folders, whole and broken; `write_study` makes them for the neighbouring tests as well."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expedition.errors import UserError
from experiments.records import read_study

ACHIEVEMENTS = [
    "collect_coal",
    "collect_diamond",
    "collect_drink",
    "collect_iron",
    "collect_sapling",
    "collect_stone",
    "collect_wood",
    "defeat_skeleton",
    "defeat_zombie",
    "eat_cow",
    "eat_plant",
    "make_iron_pickaxe",
    "make_iron_sword",
    "make_stone_pickaxe",
    "make_stone_sword",
    "make_wood_pickaxe",
    "make_wood_sword",
    "place_furnace",
    "place_plant",
    "place_stone",
    "place_table",
    "wake_up",
]
RETURNS = {"scratch": 2.1, "policy": 3.0, "model": 2.9, "model+policy": 4.2}
ERRORS = {"scratch": (0.060, 0.014), "policy": (0.060, 0.013), "model": (0.012, 0.010)}
ERRORS["model+policy"] = ERRORS["model"]
EASY = {"collect_sapling": 60, "place_plant": 45, "collect_wood": 55, "wake_up": 80, "collect_drink": 35}


def write_study(folder, seeds=(0,), conditions=tuple(RETURNS), environment="Crafter", suite=True, films=True):
    """Write a made-up study, with the shape of a real one, and return its folder."""
    folder = Path(folder)
    runs = [
        {"id": f"pretrain-s{seed}", "phase": "pretrain", "condition": None, "seed": seed} for seed in seeds
    ]
    runs += [
        {"id": f"{condition}-s{seed}", "phase": "finetune", "condition": condition, "seed": seed}
        for condition in conditions
        for seed in seeds
    ]
    head = {"name": "quickstart", "command": "expedition study quickstart", "version": "0.1.0"}
    head |= {"seeds": list(seeds), "environment": environment, "runs": runs}
    head["suite_metrics"] = ["crafter_score", "achievements"] if suite else []
    write_json(folder / "study.json", head)
    for number, run in enumerate(runs):
        write_run(folder / run["id"], run, np.random.default_rng(number), suite, films)
    return folder


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(folder, run, rng, suite, films):
    steps = 8000 if run["phase"] == "pretrain" else 4000
    write_json(folder / "status.json", {"state": "finished", "env_step": steps, "wall_seconds": 60.5})
    write_json(folder / "config.json", {})
    result = {"metrics": {}, "episodes": 20, "environment_steps": steps, "wall_seconds": 61.0, "success": {}}
    if run["phase"] == "finetune":
        write_episodes(folder, RETURNS[run["condition"]], steps, rng)
        result |= made_up_result(run["condition"], rng, suite)
    write_json(folder / "result.json", result)
    if films and run["phase"] == "finetune":
        write_films(folder / "media", blur=0.35 if run["condition"].startswith("model") else 0.95)


def write_episodes(folder, level, steps, rng):
    lines, step = [], 0
    while (step := step + int(rng.integers(80, 220))) < steps:
        mean = 1.4 + (level - 1.4) * step / steps
        lines.append(json.dumps({"env_step": step, "return": rng.normal(mean, 0.9), "length": 150}))
    (folder / "episodes.jsonl").write_text("\n".join(lines) + '\n{"env_step": 40')


def made_up_result(condition, rng, suite):
    start, end = (error * rng.uniform(0.9, 1.1) for error in ERRORS[condition])
    metrics = {"return": RETURNS[condition] + rng.normal(0, 0.3)}
    metrics |= {"open_loop_error_start": start, "open_loop_error_end": end}
    horizon = np.arange(1, 46)
    result = {"metrics": metrics}
    result["open_loop_by_horizon_start"] = list(start * (0.6 + 0.4 * horizon / 23))
    result["open_loop_by_horizon_end"] = list(end * (0.3 + 0.7 * horizon / 23))
    if suite:
        gain = RETURNS[condition] / 2.1
        luck = rng.uniform(0.4, 1.7, len(ACHIEVEMENTS))
        rates = {
            name: min(100.0, 5.0 * round(EASY.get(name, 1.9) * gain / 5 * more))
            for name, more in zip(ACHIEVEMENTS, luck, strict=True)
        }
        result["success"] = rates
        metrics["crafter_score"] = float(np.expm1(np.log1p(list(rates.values())).mean()))
        metrics["achievements"] = float(sum(rate > 0 for rate in rates.values()))
    return result


def write_films(folder, blur, columns=16, size=32):
    """Write strips of a moving square: truth, a prediction that fades to grey, and their difference."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    ground = np.kron(rng.uniform(60, 200, (size // 8, size // 8, 3)), np.ones((8, 8, 1)))
    truth, dream = [], []
    for t in range(columns):
        frame = np.roll(ground, 2 * t, axis=1)
        frame[size // 2 - 3 : size // 2 + 3, (2 * t) % (size - 6) :][:, :6] = (230, 60, 60)
        share = min(1.0, blur * (0.4 + t / columns))
        truth.append(frame)
        dream.append((1 - share) * frame + share * ground.mean(axis=(0, 1)))
    rows = [np.concatenate(row, axis=1) for row in (truth, dream)]
    strip = np.concatenate([*rows, np.abs(rows[0] - rows[1])]).astype(np.uint8)
    for moment in ("start", "end"):
        Image.fromarray(strip).save(folder / f"open_loop_{moment}.png")


def test_a_whole_study_is_read(tmp_path):
    study = read_study(write_study(tmp_path / "quickstart", seeds=(1, 0)))
    assert (study.name, study.version, study.environment) == ("quickstart", "0.1.0", "Crafter")
    assert study.conditions == ("scratch", "policy", "model", "model+policy")
    assert [run.seed for run in study.of("model")] == [0, 1]
    assert len(study.runs) == 10
    assert set(study.values("return")["policy"]) == {0, 1}
    assert study.missing() == []
    run = study.of("scratch")[0]
    assert (run.env_step, run.wall_seconds, len(run.open_loop_start)) == (4000, 61.0, 45)
    assert run.film("start").name == "open_loop_start.png"


def test_factorial_conditions_come_first_and_others_after(tmp_path, monkeypatch):
    monkeypatch.setitem(RETURNS, "aardvark", 2.0)
    monkeypatch.setitem(ERRORS, "aardvark", (0.05, 0.02))
    folder = write_study(tmp_path, conditions=("aardvark", "model+policy", "scratch"))
    assert read_study(folder).conditions == ("scratch", "model+policy", "aardvark")


def test_a_line_still_being_written_is_left_out_but_a_torn_middle_is_named(tmp_path):
    run = read_study(write_study(tmp_path)).of("scratch")[0]
    assert all("return" in episode for episode in run.episodes())
    path = run.folder / "episodes.jsonl"
    path.write_text(path.read_text() + '\n{"env_step": 41, "return": 1.0}\n')
    with pytest.raises(UserError, match="torn at line"):
        run.episodes()


def test_unfinished_runs_are_listed(tmp_path):
    folder = write_study(tmp_path, seeds=(0, 1))
    write_json(folder / "model-s1" / "status.json", {"state": "running", "env_step": 70, "wall_seconds": 2.0})
    (folder / "policy-s1" / "status.json").unlink()
    (folder / "scratch-s1" / "result.json").unlink()
    study = read_study(folder)
    assert study.missing() == [
        "Run scratch-s1 is finished without a result: not in this report.",
        "Run policy-s1 is not started: not in this report.",
        "Run model-s1 is running: not in this report.",
    ]
    assert set(study.values("return")["model"]) == {0}


def test_undefined_metrics_are_left_out_and_said(tmp_path):
    folder = write_study(tmp_path, seeds=(0, 1))
    path = folder / "model-s1" / "result.json"
    result = json.loads(path.read_text())
    result["metrics"] |= {"return": float("nan"), "crafter_score": None}
    path.write_text(json.dumps(result))
    study = read_study(folder)
    assert set(study.values("return")["model"]) == {0}
    assert study.missing() == ["Run model-s1 has no finite return, crafter_score: left out of the estimates."]


def test_missing_foreign_and_torn_studies_get_one_sentence(tmp_path):
    with pytest.raises(UserError, match="There is no study at"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no study\.json"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "half')
    with pytest.raises(UserError, match="isn't whole JSON"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(UserError, match="isn't a file of Expedition"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "another tool"}')
    with pytest.raises(UserError, match="it lacks 'command'"):
        read_study(tmp_path)
