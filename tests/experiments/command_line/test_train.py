"""Phase 2 that carries nothing: `train`, and `finetune` under a plan without a source."""

import json
import re
import shutil

import pytest

from agents.programs.compiler import missing
from experiments.command_line.telling import told_evaluation, told_result
from experiments.settings import agent_preset, finetune_preset, training_preset, with_settings
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from training import fingerprint, read_config
from training.storage.folder import unsealed


@pytest.fixture
def train(cli, small, tmp_path):
    """`expedition train` on a tiny run of 40 steps, in a folder of its own; flags come after."""
    return lambda *flags: cli(
        "train", "--config", small, "--steps", 40, "--wandb", "off", "--out", tmp_path / "run", *flags
    )


@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_from_scratch_on_the_real_reward(train, cli, tmp_path, kind):
    code, out, err = train("--agent.kind", kind)
    assert code == 0, err
    assert re.search(r"^return +-?[\d.]+$", out, re.M)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["phase"], config["intrinsic"], config["agent"]["kind"]) == ("finetune", None, kind)
    assert config["transfer"]["source"] is None
    assert "finished already" in train("--agent.kind", kind)[2]
    assert cli("evaluate", "--from", tmp_path / "run", "--episodes", 1)[0] == 0


def test_fine_tuning_from_scratch_is_the_same_run(train, cli, small, tmp_path):
    assert train()[0] == 0
    again = ("finetune", "--config", small, "--plan", "scratch", "--env", "catch-vector", "--steps", 40)
    code, _, err = cli(*again, "--out", tmp_path / "run")
    assert code == 0
    assert "finished already" in err


def settings(run):
    """What a run was asked for: all of its config.json but how it is carried out."""
    found = unsealed(json.loads((run / "config.json").read_text()))
    assert found.pop("program") == "eager"
    return found


def test_each_has_a_default_folder_named_by_the_settings(cli, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ("--config", small, "--env", "catch-vector", "--steps", 4)
    assert cli("train", *flags)[0] == 0
    assert cli("finetune", *flags, "--plan", "encoder=fresh")[0] == 0
    (trained,) = (tmp_path / "runs" / "train").iterdir()
    (tuned,) = (tmp_path / "runs" / "finetune").iterdir()
    assert trained.name == fingerprint(settings(trained))
    assert tuned.name == f"custom-{fingerprint(settings(tuned))}"


def test_a_size_brings_its_presets(cli, refused, tmp_path):
    for words in (("train",), ("finetune", "--plan", "scratch", "--env", "catch-vector")):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        flags = ("--size", "tiny", "--steps", 4, "--wandb", "off", "--training.evaluation-episodes", 1)
        env = ("--env", "catch-vector") if words == ("train",) else ()
        assert cli(*words, *flags, *env, "--out", tmp_path / "run")[0] == 0
        found = read_config(tmp_path / "run")
        assert found.agent == with_settings(agent_preset("tiny"), finetune_preset("tiny"))
        assert found.training.batch == training_preset("tiny").batch
    assert "Unknown size 'tinny'" in refused("train", "--size", "tinny")
    assert "Unknown size ''" in refused("finetune", "--plan", "scratch", "--size", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["finetune", "--env", "catch-vector"], "say from which run with --from"),
        (["finetune", "--plan", "scratch"], "name it with --env"),
        (["train", "--agent.kind", "ppo"], "run `expedition baseline ppo`"),
        (["train", "--agent.kind", "random"], "every study measures it as `random policy`"),
        (["pretrain", "--agent.kind", "random", "--env", "catch-vector"], "intrinsic reward random-data"),
        (["train", "--env", "catch-vectr"], "did you mean catch-vector"),
    ],
)
def test_what_is_missing_is_said(refused, tmp_path, words, sentence):
    assert sentence in refused(*words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_size_of_a_source_is_not_asked_for_otherwise(refused, pretrained, tmp_path):
    command = ("finetune", "--from", pretrained, "--plan", "scratch", "--out", tmp_path / "run")
    assert "leave --size out" in refused(*command, "--size", "1m")


def test_a_study_takes_what_was_trained_by_hand(cli, study_file, tmp_path, in_this_process, no_page):
    """Equal settings, equal run: its folder needs no second training."""
    path = study_file(conditions=["scratch"], contrasts=[])
    run, _ = planned_runs(find_study(str(path), None, {}))  # and the random policy
    study = ("study", path, "--wandb", "off", "--out", tmp_path / "study")
    assert cli(*study, "--jobs", 1)[0] == 0
    folder = tmp_path / "study" / run.id
    before = (folder / "config.json").read_text()
    settings = tmp_path / "same.json"
    found = json.loads(before)
    keep = ("env", "size", "steps", "seed", "agent", "training")
    settings.write_text(json.dumps({key: found[key] for key in keep}))
    shutil.rmtree(folder)
    assert cli("train", "--config", settings, "--wandb", "off", "--out", folder)[0] == 0
    assert (folder / "config.json").read_text() == before
    result = (folder / "result.json").stat().st_mtime_ns
    assert cli(*study)[0] == 0
    assert (folder / "result.json").stat().st_mtime_ns == result


def test_a_result_is_told_in_a_few_lines(tmp_path):
    metrics = {"length": 3.0, "return": 1.0, "open_loop_error_end": 0.1, "return_start": float("nan")}
    lines = told_result({"metrics": metrics}, tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == [
        "return",
        "return_start",
        "open_loop_error_end",
        "more",
        "folder",
    ]
    assert "1 in the folder's result.json" in lines[-2]


def test_an_evaluation_counts_what_it_does_not_show():
    summary = {"return": 1.0, "success/wood": 0.5, "success/stone": 0.0, "episodes": 2.0}
    assert told_evaluation(summary).splitlines() == [
        "return    1",
        "episodes  2",
        "With --json also the 2 of one achievement or task each.",
    ]
    assert told_evaluation({"return": 1.0}) == "return  1"


def test_without_a_compiler_a_run_that_asks_for_one_trains_and_is_told(train, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    missing.cache_clear()
    code, _, err = train("--compile", "on", "--device", "cpu")
    missing.cache_clear()
    assert code == 0, err
    assert err.count("Updates run uncompiled, and slower, because no C++ compiler is found") == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["program"] == "eager"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["updates"] > 0


@pytest.mark.parametrize("command", ["pretrain", "train", "finetune", "study"])
def test_help_names_compiling(cli, command):
    assert "--compile" in cli(command, "--help")[1]
