"""The figure, for whole and for poor studies."""

import json
import math
import shutil

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from expedition.errors import UserError
from experiments.reporting.drawing.figure import draw_report
from experiments.reporting.drawing.foresight import TILES, compared, decoded_by, film_rows, films, thin
from experiments.reporting.drawing.spectrum import success_table
from experiments.reporting.records import read_study


def drawn(folder):
    with Image.open(draw_report(read_study(folder), folder / "report.png")) as image:
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize(("seeds", "height"), [(1, 1162), (3, 1162), (5, 1442)])
def test_a_whole_study(tmp_path, seeds, height, write_study):
    before = dict(mpl.rcParams)
    pixels = drawn(write_study(tmp_path, seeds=tuple(range(seeds))))
    assert pixels.shape == (height, 1600)  # five seeds bring profiles and probabilities
    assert pixels.std() > 20
    # Nothing runs over the edge.
    assert min(pixels[:4].min(), pixels[-4:].min(), pixels[:, :4].min(), pixels[:, -4:].min()) == 255
    assert dict(mpl.rcParams) == before


def test_many_conditions_stay_within_the_edges(tmp_path, monkeypatch, write_study, made_up):
    names = ["scratch", *(f"condition {number}" for number in range(10))]
    for name in names:
        # One far better than all others, whose labels then crowd at the foot of the profile.
        monkeypatch.setitem(made_up.returns, name, 9.0 if name == "scratch" else 0.5)
        monkeypatch.setitem(made_up.errors, name, (0.05, 0.02))
    folder = write_study(tmp_path, range(5), tuple(names), "mazes", suite=False, films=False)
    pixels = drawn(folder)
    assert min(pixels[:4].min(), pixels[-4:].min(), pixels[:, :4].min(), pixels[:, -4:].min()) == 255


def test_another_environment_without_films_or_achievements(tmp_path, write_study):
    pixels = drawn(write_study(tmp_path, environment="CartPole-v1", suite=False, films=False))
    assert pixels.shape[1] == 1600
    assert pixels.shape[0] < 1000


@pytest.mark.parametrize("conditions", [("scratch",), ("model+policy",), ("policy", "scratch")])
def test_few_conditions(tmp_path, conditions, write_study):
    assert drawn(write_study(tmp_path, seeds=(0, 1), conditions=conditions)).std() > 5


def test_three_components_and_conditions_of_any_name(tmp_path, monkeypatch, write_study, made_up):
    names = ("model+replay", "replay", "model from random-data")
    for name in names:
        monkeypatch.setitem(made_up.returns, name, 2.0)
        monkeypatch.setitem(made_up.errors, name, (0.05, 0.02))
    folder = write_study(tmp_path, conditions=("scratch", "model", "policy", *names), films=False)
    head = json.loads((folder / "study.json").read_text())
    cells = {"": "scratch", "model": "model", "replay": "replay", "model+replay": "model+replay"}
    head["factorial"] = {"components": ["model", "policy", "replay"], "cells": cells | {"policy": "policy"}}
    (folder / "study.json").write_text(json.dumps(head))
    study = read_study(folder)
    assert draw_report(study, folder / "report.png").stat().st_size > 10_000
    assert study.conditions == ("scratch", "model", "policy", "replay", "model+replay", names[2])


def test_nothing_but_metrics(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=("scratch", "model"), suite=False, films=False)
    for run in ("scratch-s0", "model-s0"):
        (folder / run / "episodes.jsonl").unlink()
        path = folder / run / "result.json"
        path.write_text(json.dumps({"metrics": json.loads(path.read_text())["metrics"]}))
    assert drawn(folder).std() > 5


def test_nothing_finished_still_draws_the_headline(tmp_path, write_study):
    assert drawn(write_study(tmp_path, conditions=())).std() > 5


def test_runs_of_different_length_and_undefined_errors(tmp_path, write_study):
    folder = write_study(tmp_path, seeds=(0, 1))
    path = folder / "model-s1" / "result.json"
    result = json.loads(path.read_text())
    result["open_loop_by_horizon_start"][3] = math.nan
    result["open_loop_by_horizon_end"] = result["open_loop_by_horizon_end"][:9]
    path.write_text(json.dumps(result))
    (folder / "policy-s0" / "episodes.jsonl").write_text('{"env_step": 9, "return": 1.0}\n')
    shutil.rmtree(folder / "scratch-s0" / "media")
    assert drawn(folder).std() > 20


def test_metrics_with_different_contributions(tmp_path, write_study):
    folder = write_study(tmp_path, seeds=(0, 1))
    for seed in (0, 1):
        path = folder / f"policy-s{seed}" / "result.json"
        result = json.loads(path.read_text())
        del result["metrics"]["return"]
        path.write_text(json.dumps(result))
    assert drawn(folder).std() > 20


def test_a_folder_that_cannot_be_written_gets_one_sentence(tmp_path, write_study):
    study = read_study(write_study(tmp_path, conditions=("scratch",), films=False))
    with pytest.raises(UserError, match="Could not write"):
        draw_report(study, tmp_path / "study.json" / "report.png")


def probe(folder, run, shade, instead):
    """Give a run what a probe tells and draws, beside its decoder's or in its place."""
    path = folder / run / "result.json"
    result = json.loads(path.read_text())
    for name in [name for name in result if name.startswith("open_loop")]:
        told = result.pop(name) if instead else result[name]
        result[name.replace("open_loop", "probe")] = told
    path.write_text(json.dumps(result))
    Image.new("RGB", (32, 96), (shade,) * 3).save(folder / run / "media" / "probe_start.png")
    if instead:
        (folder / run / "media" / "open_loop_start.png").unlink()


def test_where_a_compared_model_has_no_decoder_probes_are_shown_of_both(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=("scratch", "model", "policy"))
    assert decoded_by(read_study(folder)) == "open_loop"
    probe(folder, "scratch-s0", 10, instead=False)
    assert decoded_by(read_study(folder)) == "open_loop"  # both have decoders of their own
    probe(folder, "model-s0", 20, instead=True)
    study = read_study(folder)
    assert decoded_by(study) == "probe"
    assert {name: strip.max() for name, strip in films(study).items()} == {"model": 20, "scratch": 10}
    assert drawn(folder).std() > 10


def test_without_a_phase_1_the_films_are_those_of_the_end(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=("scratch", "model"))
    for path in folder.glob("*/media/open_loop_end.png"):
        Image.new("RGB", (32, 96), (77,) * 3).save(path)
    assert all(strip.max() > 77 for strip in films(read_study(folder)).values())
    head = json.loads((folder / "study.json").read_text())
    head["runs"] = [run for run in head["runs"] if run["phase"] == "finetune"]
    (folder / "study.json").write_text(json.dumps(head))
    assert {strip.max() for strip in films(read_study(folder)).values()} == {77}


def test_where_nothing_is_carried_each_kind_of_model_is_shown(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=("scratch", "policy", "model", "model+policy"))
    kinds = {"scratch": "reconstruction", "policy": "spr", "model": "none", "model+policy": "none"}
    names = {"scratch": "pixels", "policy": "latents", "model": "reward", "model+policy": "reward again"}
    head = json.loads((folder / "study.json").read_text())
    head["runs"] = [run for run in head["runs"] if run["phase"] == "finetune"]
    for run in head["runs"]:
        run |= {"kind": "model-based", "predicts": kinds[run["condition"]]}
        run["condition"] = names[run["condition"]]
    (folder / "study.json").write_text(json.dumps(head))
    for run in ("scratch-s0", "policy-s0", "model-s0"):
        probe(folder, run, 30, instead=run != "scratch-s0")
        (folder / run / "media" / "probe_start.png").rename(folder / run / "media" / "probe_end.png")
    study = read_study(folder)
    assert compared(study) == list(films(study)) == ["pixels", "latents", "reward"]
    assert drawn(folder).std() > 10


def test_a_shared_truth_is_shown_once():
    truth, dream = np.zeros((4, 8, 3), np.uint8), np.ones((4, 8, 3), np.uint8)
    strip = np.concatenate([truth, dream, dream])
    other = np.concatenate([truth + 9, dream, dream])
    assert list(film_rows({"model": strip, "scratch": strip})) == ["truth", "model", "scratch"]
    assert list(film_rows({"model": strip, "scratch": other})) == [
        "truth",
        "model",
        "truth (scratch)",
        "scratch",
    ]
    assert film_rows({"model": strip})["model"].min() == 1
    assert film_rows({}) == {}


def test_long_strips_are_thinned_to_whole_tiles():
    strip = np.repeat(np.arange(50, dtype=np.uint8), 2)[None, :, None].repeat(2, 0).repeat(3, 2)
    thinned = thin(strip)
    assert thinned.shape == (2, 2 * TILES, 3)
    assert (thinned[0, 0, 0], thinned[0, -1, 0]) == (0, 49)
    assert thin(strip[:, :7]).shape == (2, 7, 3)


def test_achievements_are_sorted_and_averaged_over_seeds(tmp_path, write_study):
    folder = write_study(tmp_path, seeds=(0, 1), conditions=("scratch", "model"), films=False)
    for run, success in {
        "scratch-s0": {"rare": 0.0, "often": 50.0, "never": 0.0},
        "scratch-s1": {"rare": 10.0, "often": 70.0},
        "model-s0": {"rare": 20.0, "often": 100.0},
        "model-s1": {"rare": 20.0, "often": 100.0},
    }.items():
        path = folder / run / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"success": success}))
    names, rates = success_table(read_study(folder), ["scratch", "model"])
    assert names == ["often", "rare"]
    assert rates.tolist() == [[60.0, 100.0], [5.0, 20.0]]
