"""One run from config to result, and the folder that it holds."""

import dataclasses
import json
import os
import signal

import pytest

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig
from expedition import UserError, __version__
from training import Logistics, RunConfig, TrainingConfig, evaluate_run, execute, read_config, read_result
from training import session as module
from training.config import to_dict
from training.logging.wandb_sink import wandb_id
from training.storage.folder import claim_folder, lengthen, only_process, read_json
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False)
AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(imagination=2, layers=1, starts=2),
    optimizer=OptimizerConfig(lr=1e-3, warmup=2),
)
TRAINING = TrainingConfig(
    num_envs=2,
    batch=2,
    length=8,
    train_ratio=4.0,
    learning_starts=24,
    log_every=20,
    heldout=8,
    context=2,
    open_loop=4,
    evaluation_episodes=3,
    image_size=32,
)
CONFIG = RunConfig("catch-vector", "pretrain", "disagreement", "tiny", 48, 0, AGENT, TRAINING)


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    said = []
    outcome = execute(dataclasses.replace(CONFIG, env="catch-pixels"), folder, QUIET, say=said.append)
    return folder, outcome, said


def test_a_finished_run_says_all_about_itself(finished):
    folder, outcome, said = finished
    result = outcome.result
    assert outcome.exit_code == 0
    assert result == json.loads((folder / "result.json").read_text()) == read_result(folder)
    errors = {f"open_loop_error_{moment}{name}" for moment in ("start", "end") for name in ("", "_sticky")}
    ranks = {f"embeddings_effective_rank_{moment}" for moment in ("start", "end")}
    assert set(result["metrics"]) == {"return", "length", "particle_entropy", *errors, *ranks}
    assert all(1 <= result["metrics"][name] <= 256 for name in ranks)
    assert all(1 <= line["embeddings/effective_rank"] <= 256 for line in lines(folder))
    entropy = result["metrics"]["particle_entropy"]
    assert result["coverage"] == {
        "reached": None,  # the suite tells nothing
        "episodes": None,
        "reachable": None,
        "share": None,
        "particle_entropy": entropy,
    }
    assert any("coverage/particle_entropy" in line for line in lines(folder))
    assert result["episodes"] == 3
    assert result["environment_steps"] >= 48
    assert result["updates"] > 0
    assert result["version"] == __version__
    assert len(result["open_loop_by_horizon_start"]) == len(result["open_loop_by_horizon_end"]) == 4
    assert len(result["open_loop_by_horizon_end_sticky"]) == 4
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["steps"]) == ("finished", 48)
    assert {path.name for path in (folder / "media").iterdir()} == {
        f"open_loop_{moment}.{kind}" for moment in ("start", "end") for kind in ("gif", "png")
    }
    assert any("replay: at most" in line for line in said)  # the cap is announced
    assert read_config(folder) == dataclasses.replace(CONFIG, env="catch-pixels")


def test_a_model_free_run_is_judged_by_its_policy_alone(tmp_path):
    config = dataclasses.replace(CONFIG, agent=dataclasses.replace(AGENT, kind="model-free"))
    result = execute(config, tmp_path / "run", QUIET).result
    assert set(result["metrics"]) == {"return", "length", "particle_entropy"}
    assert not [name for name in result if "open_loop" in name]
    assert not list((tmp_path / "run" / "media").glob("*"))
    assert not [name for line in lines(tmp_path / "run") for name in line if "open_loop" in name]
    assert evaluate_run(tmp_path / "run", 2, 0, "cpu")["episodes"] == 2


def test_the_same_again_has_nothing_to_do(finished):
    folder, outcome, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = []
    again = execute(dataclasses.replace(CONFIG, env="catch-pixels"), folder, QUIET, say=said.append)
    assert again == outcome
    assert said == [f"{folder} is finished already: nothing to do."]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_equal_seeds_give_equal_runs_and_others_other(tmp_path):
    outcomes = [
        execute(dataclasses.replace(CONFIG, seed=seed), tmp_path / name, QUIET).result
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert outcomes[0]["metrics"] == outcomes[1]["metrics"]
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    assert lines(tmp_path / "a", "episodes.jsonl") == lines(tmp_path / "b", "episodes.jsonl")
    assert lines(tmp_path / "a") != lines(tmp_path / "c")


def test_a_stop_saves_and_the_same_command_ends_as_if_it_had_never_been(tmp_path, monkeypatch):
    plain = execute(CONFIG, tmp_path / "plain", QUIET).result
    report = module.Status.report

    def stop_midway(self, env_step, updates, seconds):
        report(self, env_step, updates, seconds)
        if 30 <= env_step < 32:
            os.kill(os.getpid(), signal.SIGTERM)

    said = []
    monkeypatch.setattr(module.Status, "report", stop_midway)
    stopped = execute(CONFIG, tmp_path / "run", QUIET, say=said.append)
    assert (stopped.result, stopped.exit_code) == (None, 143)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "stopped"
    assert "run the same command again to go on" in said[-1]
    monkeypatch.setattr(module.Status, "report", report)
    resumed = execute(CONFIG, tmp_path / "run", QUIET, say=said.append)
    assert any(line.startswith("Going on from step 3") for line in said)
    assert resumed.result["metrics"] == plain["metrics"]
    assert lines(tmp_path / "run") == lines(tmp_path / "plain")


def test_other_settings_in_the_folder_are_refused_by_name(finished):
    folder, _, _ = finished
    other = dataclasses.replace(
        CONFIG, env="catch-pixels", steps=50, training=dataclasses.replace(TRAINING, batch=3)
    )
    with pytest.raises(UserError, match=r"steps \(48 there, 50 asked for\); training\.batch \(2 there, 3"):
        execute(other, folder, QUIET)
    assert read_result(folder) is not None


def test_a_folder_of_others_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        execute(CONFIG, tmp_path, QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"env": "catch-vectr"}, "Unknown environment 'catch-vectr': did you mean catch-vector"),
        ({"intrinsic": "rdn"}, "Unknown intrinsic reward 'rdn': did you mean rnd"),
        ({"training": dataclasses.replace(TRAINING, replay_gib=1e-9)}, "too small for one sequence"),
    ],
)
def test_what_cannot_begin_leaves_the_folder_free(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        execute(dataclasses.replace(CONFIG, **changes), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_is_never_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Trainer, "_due", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute(CONFIG, tmp_path / "run", QUIET)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"
    monkeypatch.undo()
    assert execute(CONFIG, tmp_path / "run", QUIET).result is not None


def test_a_failed_resume_keeps_what_there_is(tmp_path, monkeypatch):
    execute(CONFIG, tmp_path / "run", QUIET)
    (tmp_path / "run" / "result.json").unlink()
    monkeypatch.setattr(module.Trainer, "resume", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute(CONFIG, tmp_path / "run", QUIET)
    assert list((tmp_path / "run").glob("checkpoint-*"))


def test_two_processes_do_not_share_a_folder(tmp_path):
    with (
        only_process(tmp_path),
        pytest.raises(UserError, match="Another process is working"),
        only_process(tmp_path),
    ):
        pass
    with only_process(tmp_path):
        pass


def test_claiming_a_folder_twice(tmp_path):
    assert claim_folder(tmp_path / "run", {"a": 1, "b": (2,)})
    assert not claim_folder(tmp_path / "run", {"a": 1, "b": (2,)})
    with pytest.raises(UserError, match=r"b \(\[2\] there, 3 asked for\)"):
        claim_folder(tmp_path / "run", {"a": 1, "b": 3})


@pytest.mark.parametrize(("text", "what"), [("{", "is not whole JSON"), ("3", "is not a file of Expedition")])
def test_broken_files_are_named(tmp_path, text, what):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"config.json {what}.*: do this."):
        read_json(path, "do this")
    with pytest.raises(UserError, match=what):
        read_config(tmp_path)
    with pytest.raises(UserError, match=f"{what}.*restore it, or choose another --out"):
        claim_folder(tmp_path, {})
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError, match=f"{what}.*delete it and run the same command again"):
        read_result(tmp_path)


def test_settings_with_another_digit_are_not_read(tmp_path):
    claim_folder(tmp_path, {**to_dict(CONFIG), "program": "eager"})
    assert read_config(tmp_path) == CONFIG
    path = tmp_path / "config.json"
    lengthen(tmp_path, {**to_dict(CONFIG), "steps": CONFIG.steps + 8})
    assert read_config(tmp_path).steps == CONFIG.steps + 8
    path.write_text(path.read_text().replace(f'"steps": {CONFIG.steps + 8}', '"steps": 9'))
    with pytest.raises(
        UserError, match=r"config.json has been changed .*: restore it, or .* entry 'sha256'\.$"
    ):
        read_config(tmp_path)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in values.items() if name != "sha256"}))
    assert read_config(tmp_path).steps == 9


def test_a_broken_result_is_made_again_as_the_sentence_says(tmp_path):
    whole = execute(CONFIG, tmp_path / "run", QUIET).result
    (tmp_path / "run" / "result.json").write_text('{"metrics"')
    with pytest.raises(UserError, match="delete it"):
        execute(CONFIG, tmp_path / "run", QUIET)
    (tmp_path / "run" / "result.json").unlink()
    assert execute(CONFIG, tmp_path / "run", QUIET).result["metrics"] == whole["metrics"]


def test_a_broken_status_does_no_harm(tmp_path):
    execute(CONFIG, tmp_path / "run", QUIET)
    (tmp_path / "run" / "status.json").write_text("{")
    (tmp_path / "run" / "result.json").unlink()
    assert execute(CONFIG, tmp_path / "run", QUIET).exit_code == 0
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


def test_a_budget_without_updates_is_told(tmp_path):
    said = []
    execute(dataclasses.replace(CONFIG, steps=20), tmp_path / "run", QUIET, say=said.append)
    assert any(line.startswith("Nothing will be learned: 20 steps") for line in said)


def test_evaluating_a_run(finished):
    folder, _, _ = finished
    found = evaluate_run(folder, 5, 0, "cpu")
    assert found["episodes"] == 5
    assert found == evaluate_run(folder, 5, 0, "cpu")
    assert -1 <= found["return"] <= 1


def test_a_runs_id_at_wandb_is_its_own_and_stays(tmp_path):
    one, two = tmp_path / "a" / "model+policy", tmp_path / "b" / "model+policy"
    for folder in (one, two):
        folder.mkdir(parents=True)
    assert wandb_id(one) == wandb_id(one)
    assert wandb_id(one) != wandb_id(two)
    assert wandb_id(one).startswith("model-policy-")
