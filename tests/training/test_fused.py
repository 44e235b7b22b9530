"""Runs that learn as one program end as each would by itself."""

import json
import signal

import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, DreamerAgent, OptimizerConfig
from expedition import UserError
from training import Errand, Logistics, RunConfig, TrainingConfig, execute, execute_together
from training.collecting.collector import Collector
from training.storage.checkpoint import open_checkpoint
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1)
AGENT = AgentConfig(
    model=for_size(
        "tiny", deter=8, hidden=8, units=8, stoch=2, classes=4, depth=1, blocks=2, vector_layers=1
    ),
    behaviour=ActorCriticConfig(imagination=2, layers=1, starts=2),
    optimizer=OptimizerConfig(lr=1e-3, warmup=4),
)


def config(seed, env="CartPole-v1", intrinsic="disagreement", steps=84):
    return RunConfig(
        env=env,
        phase="pretrain",
        intrinsic=intrinsic,
        size="tiny",
        steps=steps,
        seed=seed,
        agent=AGENT,
        training=TrainingConfig(
            num_envs=3,
            batch=2,
            length=6,
            train_ratio=2.0,
            learning_starts=30,
            replay_gib=0.005,
            log_every=25,
            evaluation_episodes=2,
            heldout=2,
            context=2,
            open_loop=3,
        ),
    )


def steady_heads(patch):
    """Fresh heads hold the outer bins, near 5e8, in a balance that one rounding tips: expect small values."""
    init = DreamerAgent.__init__

    def steady(self, *args, **kwargs):
        init(self, *args, **kwargs)
        heads = (self.world_model.reward, self.behaviour.critic, self.behaviour.slow_critic)
        with torch.no_grad():
            for head in heads:
                head[-1].bias.copy_(-0.5 * (torch.arange(255) - 127).abs())

    patch.setattr(DreamerAgent, "__init__", steady)


@pytest.fixture(autouse=True)
def _steady_heads(monkeypatch):
    steady_heads(monkeypatch)


def together(configs, folders):
    return execute_together([Errand(c, f, QUIET) for c, f in zip(configs, folders, strict=True)])


def stop_at(monkeypatch, call):
    """Press Ctrl-C in the given call of `Collector.receive`."""
    count, receive = 0, Collector.receive

    def interrupted(self):
        nonlocal count
        count += 1
        if count == call:
            signal.raise_signal(signal.SIGINT)
        return receive(self)

    monkeypatch.setattr(Collector, "receive", interrupted)


def lines(run_dir, name):
    return [json.loads(line) for line in (run_dir / name).read_text().splitlines()]


def assert_same_run(one, two):
    """Equal but for rounding: logs, learned weights, what was seen, and the verdict."""
    assert lines(one, "episodes.jsonl") == lines(two, "episodes.jsonl")
    left, right = lines(one, "metrics.jsonl"), lines(two, "metrics.jsonl")
    assert [line.keys() for line in left] == [line.keys() for line in right]
    for mine, other in zip(left, right, strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-4)
    saved = [open_checkpoint(run) for run in (one, two)]
    for name in ("encoder", "dynamics", "decoder", "actor", "critic", "intrinsic", "normalizers"):
        states = [checkpoint.load(name) for checkpoint in saved]
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4)
    assert saved[0].load("loop")["updates"] == saved[1].load("loop")["updates"]
    generators = [checkpoint.load("training")["generator"] for checkpoint in saved]
    assert torch.equal(*generators)
    results = [json.loads((run / "result.json").read_text()) for run in (one, two)]
    assert results[0]["updates"] == results[1]["updates"] > 5
    assert results[0]["metrics"] == pytest.approx(results[1]["metrics"], rel=1e-3, abs=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Two runs carried out each by itself; nobody writes to them."""
    folder = tmp_path_factory.mktemp("alone")
    patch = pytest.MonkeyPatch()
    steady_heads(patch)
    for seed in (3, 4):
        assert execute(config(seed), folder / str(seed), QUIET).result is not None
    patch.undo()
    return [folder / "3", folder / "4"]


def test_fused_runs_equal_runs_alone(alone, tmp_path):
    folders = [tmp_path / "3", tmp_path / "4"]
    outcomes = together([config(3), config(4)], folders)
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    for one, two in zip(alone, folders, strict=True):
        assert_same_run(one, two)
    # the runs differ, so that neither was taken for the other
    assert lines(folders[0], "episodes.jsonl") != lines(folders[1], "episodes.jsonl")


@pytest.mark.parametrize("call", [8, 41])  # before learning starts, and amid it
def test_a_fused_pair_goes_on_after_a_stop(alone, tmp_path, monkeypatch, call):
    folders = [tmp_path / "3", tmp_path / "4"]
    stop_at(monkeypatch, call)
    outcomes = together([config(3), config(4)], folders)
    assert [(o.result, o.exit_code) for o in outcomes] == [(None, 130)] * 2
    together([config(3), config(4)], folders)
    for one, two in zip(alone, folders, strict=True):
        assert_same_run(one, two)


def test_fused_and_alone_go_on_from_each_other(alone, tmp_path, monkeypatch):
    folders = [tmp_path / "3", tmp_path / "4"]
    with monkeypatch.context() as patch:
        stop_at(patch, 41)
        together([config(3), config(4)], folders)
    with monkeypatch.context() as patch:  # one goes ahead by itself, so that they stand at different steps
        stop_at(patch, 3)
        execute(config(3), folders[0], QUIET)
    steps = [open_checkpoint(folder).step for folder in folders]
    assert steps[0] > steps[1]
    together([config(3), config(4)], folders)
    for one, two in zip(alone, folders, strict=True):
        assert_same_run(one, two)


def test_finished_runs_are_left_alone_and_the_last_goes_on(alone, tmp_path):
    execute(config(3), tmp_path / "3", QUIET)
    before = (tmp_path / "3" / "result.json").read_bytes()
    outcomes = together([config(3), config(4)], [tmp_path / "3", tmp_path / "4"])
    assert outcomes[0].result == json.loads(before)
    assert (tmp_path / "3" / "result.json").read_bytes() == before
    assert_same_run(alone[1], tmp_path / "4")


def test_a_failure_ends_every_run(tmp_path, monkeypatch):
    monkeypatch.setattr("training.fused.FusedAgents.update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        together([config(3), config(4)], [tmp_path / "3", tmp_path / "4"])
    for name in ("3", "4"):
        assert json.loads((tmp_path / name / "status.json").read_text())["state"] == "failed"


def test_runs_of_other_shapes_are_refused(tmp_path):
    with pytest.raises(UserError, match="differ in nothing but their seed"):
        together([config(3), config(4, env="catch-vector")], [tmp_path / "3", tmp_path / "4"])
