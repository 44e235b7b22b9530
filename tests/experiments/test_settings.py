"""Presets, files and their order."""

import dataclasses
from pathlib import Path

import pytest

from agents import AgentConfig, PPOConfig
from expedition import UserError
from experiments.command_line.commands import Pretrain
from experiments.settings import agent_preset, overlay, possible, ppo_preset, read_settings, training_preset
from experiments.studies.presets import presets
from training import TrainingConfig
from transfer.plan import parse_plan
from world_model import SIZES


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_presets(size):
    horizon = 33 if size == "tiny" else 333
    assert agent_preset(size).model == dataclasses.replace(SIZES[size], horizon=horizon)
    assert training_preset(size).num_envs > 0


@pytest.mark.parametrize("preset", [agent_preset, training_preset])
def test_an_unknown_size_gets_the_nearest(preset):
    with pytest.raises(UserError, match="Unknown size '20m': did you mean 200m"):
        preset("20m")


def test_ppo_on_crafter_is_moons():
    """Table of hyper-parameters of Moon et al. 2023: 8 minibatches of a rollout of 4096."""
    long = ppo_preset("crafter", 1_000_000)
    assert (long.discount, long.gae_lambda, long.lr, long.entropy, long.clip) == (0.95, 0.65, 3e-4, 0.01, 0.2)
    assert (long.rollout, long.rollout // long.batch, long.epochs) == (4096, 8, 3)
    assert ppo_preset("crafter,size=16", 5_000).gae_lambda == 0.65


def test_ppo_sees_many_rollouts_of_a_short_run():
    short = ppo_preset("mazes-goal,size=7", 4_000)
    assert 4_000 / short.rollout > 10
    assert short.anneal
    assert not short.normalise_advantage
    assert ppo_preset("mazes-goal", 50_000) == ppo_preset("mazes-goal", 5_000_000) == PPOConfig()


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_nested_settings_with_dashes_or_underscores(tmp_path):
    path = write(
        tmp_path,
        "steps: 1e5\nout: runs/x\ntraining:\n  train-ratio: 8\n  learning_starts: 7\n"
        "agent:\n  model:\n    free-nats: 2\n  optimizer: {lr: 1e-3}\n",
    )
    found = overlay(Pretrain(), read_settings(path))
    assert (found.steps, found.out) == (100_000, Path("runs/x"))
    assert (found.training.train_ratio, found.training.learning_starts) == (8.0, 7)
    assert found.agent.model == dataclasses.replace(SIZES["12m"], free_nats=2.0)
    assert found.agent.optimizer.lr == 1e-3
    assert found.training.batch == Pretrain().training.batch  # what is not named stays


def test_an_overlay_of_nothing_changes_nothing():
    quick = presets()["quickstart"].budgets["laptop"]
    for base in (Pretrain(), Pretrain(out=Path("x")), quick):
        assert overlay(base, {}) == base


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stepps: 3", "Unknown setting 'stepps': did you mean steps"),
        ("training: {bach: 3}", "Unknown setting in training 'bach': did you mean batch"),
        ("agent: {model: {detter: 3}}", "Unknown setting in model 'detter': did you mean deter"),
        ("training: 3", "'training' is a group: indent its settings below it"),
        ("steps: many", "'steps' must be a whole number, not 'many'"),
        ("steps: 1.5", "'steps' must be a whole number"),
        ("env: 5", "'env' must be a text"),
        ("intrinsic: null", "'intrinsic' must be a text, not None"),
        ("training: {batch: 0}", "batch is 0"),
        ("agent: {model: {conv: round}}", "'conv' must be pooled or strided"),
        ("agent: {model: {deter: 30}}", "not a multiple of its 8 blocks"),
        ("training: {train-ratio: 1, train_ratio: 2}", "'train_ratio' in training stands twice"),
    ],
)
def test_bad_settings_get_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        overlay(Pretrain(), read_settings(write(tmp_path, text)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps: [1", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("- steps", "holds no settings"),
        ("", "holds no settings"),
        ("just words", "holds no settings"),
    ],
)
def test_files_that_are_no_settings(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        read_settings(write(tmp_path, text))
    assert "\n" not in str(refusal.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_settings(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="Is a directory"):
        read_settings(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="is not YAML"):
        read_settings(tmp_path / "bytes.yaml")


def test_yaml_cannot_run_code(tmp_path):
    path = write(tmp_path, "steps: !!python/object/apply:os.system ['touch hacked']")
    with pytest.raises(UserError, match="is not YAML"):
        read_settings(path)


def test_what_is_impossible_for_a_plan_or_learner_is_left_out():
    asked = TrainingConfig(searches=(4,), depths=(2,), simulator=True, unseen="x", offline_updates=9)
    scratch, relabelled = parse_plan("scratch"), parse_plan("replay=relabel")
    kept = possible(asked, relabelled, AgentConfig())
    assert kept == asked
    assert possible(asked, scratch, AgentConfig()) == dataclasses.replace(asked, offline_updates=0)
    without = possible(asked, relabelled, AgentConfig(kind="ppo"))
    assert without == dataclasses.replace(asked, searches=(), depths=(), simulator=False)
