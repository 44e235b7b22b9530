"""Runs on the reward `language`: what is refused first, what is counted, and what a rerun needs."""

import dataclasses

import pytest

from agents import ActorCriticConfig, AgentConfig
from expedition import UserError
from exploration import EARNED, IntrinsicConfig, LanguageConfig
from exploration.language.cache import CACHE
from tests.service import Service
from training import Logistics, RunConfig, TrainingConfig, execute, fingerprint, from_dict, to_dict
from training.storage.checkpoint import open_checkpoint
from training.storage.replay import saved_rows
from transfer.loader import Transfer, open_source
from transfer.plan import parse_plan
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1)
MODEL = for_size("tiny", deter=16, hidden=8, units=8, stoch=2, classes=4, depth=1, blocks=2, vector_layers=1)
MAZE = "mazes-goal,observe=symbols,size=7,limit=20"
TRAINING = TrainingConfig(
    num_envs=2,
    batch=2,
    length=8,
    train_ratio=1.0,
    learning_starts=60,
    replay_gib=0.005,
    log_every=100,
    evaluation_episodes=0,
    heldout=2,
    context=2,
    open_loop=3,
)


ALL = LanguageConfig("all")


def config(language=ALL, env=MAZE, phase="pretrain", steps=200, **changes):
    agent = AgentConfig(
        model=MODEL,
        behaviour=ActorCriticConfig(imagination=3, layers=1, starts=4),
        intrinsic=IntrinsicConfig(language=language),
    )
    intrinsic = "language" if phase == "pretrain" else None
    return RunConfig(env, phase, intrinsic, "tiny", steps, 0, agent, dataclasses.replace(TRAINING, **changes))


def rows_of(run_dir):
    checkpoint = open_checkpoint(run_dir)
    return [rows for _, rows in saved_rows(checkpoint.load("replay"), checkpoint.whole_files())]


def test_what_was_told_and_rewarded_is_counted_and_stands_in_the_rows(tmp_path):
    result = execute(config(), tmp_path / "run", QUIET).result
    told = {name: count for name, count in result["metrics"].items() if name.startswith("language/")}
    bumps, paid = (told[f"language/{kind}/bump into wall"] for kind in ("told", "rewarded"))
    assert bumps > 20 >= paid > 5  # once in each of ten episodes of twenty steps, in two environments
    rewards = sum(float((rows[EARNED] > 0).sum()) for rows in rows_of(tmp_path / "run"))
    every = sum(count for name, count in told.items() if "/rewarded/" in name)
    assert rewards in (every - 1, every)  # the last rows wait for the next step
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert any("language/rewarded/bump into wall" in line for line in lines)
    assert "caption/did" not in rows_of(tmp_path / "run")[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"env": "catch-vector"}, "'catch-vector' has no captions.* choose another reward"),
        ({"steps": 0, "offline_updates": 5}, "data of others have no captions"),
    ],
)
def test_what_cannot_be_is_refused_when_the_settings_are_made(changes, problem):
    with pytest.raises(UserError, match=problem):
        config(**changes)


def test_a_dead_endpoint_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "answers"))
    asks = LanguageConfig("endpoint", endpoint="http://127.0.0.1:9/v1", model="m", timeout=1)
    with pytest.raises(UserError, match="suggests no goals"):
        execute(config(asks), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_a_rerun_repeats_exactly_without_the_endpoint(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "answers"))
    service = Service()
    service.says("bump into wall\nreach goal")
    asks = LanguageConfig("endpoint", endpoint=service.address, model="m", timeout=5)
    execute(config(asks), tmp_path / "one", QUIET)
    assert service.asked
    service.dies()
    execute(config(asks), tmp_path / "two", QUIET)
    one, two = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    assert "language/rewarded/bump into wall" in one


def test_settings_that_others_do_not_use_change_no_name():
    plain = config(LanguageConfig())
    assert "language" not in to_dict(plain)["agent"]["intrinsic"]
    assert to_dict(plain, whole=True)["agent"]["intrinsic"]["language"]["suggest"] == "ranked"
    oracle = config(LanguageConfig("oracle"))
    assert to_dict(oracle)["agent"]["intrinsic"]["language"]["suggest"] == "oracle"
    assert fingerprint(to_dict(plain)) != fingerprint(to_dict(oracle))
    for made in (plain, oracle):
        assert from_dict(RunConfig, to_dict(made)) == made


def test_its_replay_can_be_carried(tmp_path):
    execute(config(), tmp_path / "explored", QUIET)
    task = dataclasses.replace(config(LanguageConfig(), phase="finetune"), steps=100)
    loader = Transfer(parse_plan("model,replay=copy"), open_source(tmp_path / "explored"), task)
    execute(task, tmp_path / "task", QUIET, initialiser=loader)
    assert all(EARNED not in rows for rows in rows_of(tmp_path / "task"))
