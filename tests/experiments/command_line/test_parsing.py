"""Presets, then a file, then flags: the last one wins."""

from experiments.command_line.parsing import parse
from experiments.settings import agent_preset, finetune_preset, with_settings
from training import read_config
from world_model import SIZES


def test_presets_then_file_then_flags(small, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 77\ntraining:\n  train-ratio: 9\n  batch: 3\nthreads: 2\n")
    tiny = parse("pretrain", ["--size", "tiny"])
    assert tiny.agent == agent_preset("tiny")
    assert tiny.training.learning_starts == 512
    given = parse("pretrain", ["--size", "tiny", "--config", str(file)])
    assert (given.steps, given.training.train_ratio, given.training.batch) == (77, 9.0, 3)
    assert given.machine.threads == 2
    assert given.training.learning_starts == 512  # the preset, where the file says nothing
    flags = ["--training.batch", "5", "--steps=88", "--threads", "1"]
    last = parse("pretrain", ["--size=tiny", "--config", str(file), *flags])
    assert (last.steps, last.training.train_ratio, last.training.batch) == (88, 9.0, 5)
    assert last.machine.threads == 1


def test_the_last_size_wins_and_brings_its_presets():
    assert parse("pretrain", ["--size", "tiny", "--size", "1m"]).agent.model == SIZES["1m"]
    assert parse("pretrain", []).agent.model == SIZES["12m"]


def test_fine_tuning_starts_from_the_sources_settings(pretrained, tmp_path):
    source = read_config(pretrained)
    command = parse("finetune", ["--from", str(pretrained)])
    own = with_settings(source.agent, finetune_preset("tiny"))
    assert (command.agent, command.training) == (own, source.training)
    assert own != source.agent
    file = tmp_path / "tune.yaml"
    file.write_text(f"from: {pretrained}\nplan: model\ntraining: {{batch: 3}}\nout: {tmp_path / 'x'}\n")
    command = parse("finetune", ["--config", str(file), "--training.log-every", "7"])
    assert (command.source, command.plan, command.out) == (str(pretrained), "model", tmp_path / "x")
    assert (command.training.batch, command.training.log_every) == (3, 7)
    assert command.agent == own
    file.write_text(f"from: {pretrained}\nagent: {{behaviour: {{entropy: 0.02}}, model: {{horizon: 9}}}}\n")
    command = parse("finetune", ["--config", str(file), "--agent.optimizer.lr", "0.5"])
    learner = command.agent
    assert (learner.behaviour.entropy, learner.model.horizon, learner.optimizer.lr) == (0.02, 9, 0.5)
