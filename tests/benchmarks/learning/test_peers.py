"""What both sides of `benchmarks.learning.peers` are told, before anything runs."""

import argparse
import copy
import json
import sys

import pytest

from benchmarks.learning.peers import Run, carry_out, configure, measure, planned, read_settings
from benchmarks.peers.sheeprl_learn import settings
from expedition import UserError
from experiments.settings import Setting


def arguments(**changes):
    given = {
        "task": "cartpole",
        "steps": 4000,
        "train_ratio": 32.0,
        "seed": 5,
        "seeds": 2,
        "set": [],
        "peer_python": "peer",
        "peer_setting": ["algo.gamma=0.9"],
        "jobs": 2,
        "limit": 60.0,
    }
    return argparse.Namespace(**{**given, **changes})


def test_settings_are_of_the_agent_unless_they_say_training():
    assert read_settings(["behaviour.entropy=1e-2", "training.num-envs=2", "behaviour.center=false"]) == (
        Setting("agent.behaviour.entropy", "1e-2"),
        Setting("training.num_envs", 2),
        Setting("agent.behaviour.center", False),
    )


@pytest.mark.parametrize("text", ["behaviour.entropy", "behaviour.entropy=[", "behaviour.entropie=1"])
def test_a_setting_that_cannot_be_laid_over_is_told(text):
    with pytest.raises(UserError):
        configure("cartpole", 4000, 32.0, 0, read_settings([text]))


def test_ours_learns_as_train_does_and_takes_settings():
    assert configure("cartpole", 4000, 32.0, 0).agent.behaviour.entropy == 3e-3
    changed = read_settings(["behaviour.entropy=1e-2", "training.length=32"])
    config = configure("cartpole", 4000, 64.0, 0, changed)
    assert config.agent.behaviour.entropy == 0.01
    assert (config.training.length, config.training.train_ratio, config.training.batch) == (32, 64.0, 16)


def test_the_peer_shares_what_is_equal():
    config = configure("cartpole", 4000, 32.0, 3, read_settings(["training.length=32", "model.units=48"]))
    told = settings(config, "cartpole")
    assert {"algo.replay_ratio=0.0625", "algo.dense_units=48", "seed=3", "env.num_envs=4"} <= set(told)
    assert {"algo.cnn_keys.encoder=[]", "algo.mlp_keys.decoder=[vector]"} <= set(told)
    pictures = settings(configure("catch", 4000, 32.0, 3), "catch")
    assert {"+env.wrapper.task=catch", "algo.cnn_keys.encoder=[image]"} <= set(pictures)


def test_seeds_go_by_turns_and_the_peer_s_own_settings_come_last():
    runs = planned(arguments())
    assert [(run.side, run.seed) for run in runs] == [
        ("expedition", 5),
        ("sheeprl 0.8.4", 5),
        ("expedition", 6),
        ("sheeprl 0.8.4", 6),
    ]
    assert runs[1].command[-1] == "algo.gamma=0.9"
    assert json.loads(runs[2].command[-1])["seed"] == 6
    assert [run.seed for run in planned(arguments(peer_python=None))] == [5, 6]


LINE = '{"step": 10, "cpu": 0.1, "return": 2.0}'


def program(text):
    return [sys.executable, "-c", f"import os, time; path = os.environ['EXPEDITION_RECORD']; {text}"]


def test_a_run_gives_its_episodes_also_when_it_is_stopped():
    wrote = f"open(path, 'w').write('{LINE}' + chr(10))"
    whole = carry_out(Run("one", 3, program(wrote)), 60.0)
    assert (whole["seed"], whole["finished"], whole["episodes"]) == (3, True, [json.loads(LINE)])
    stopped = carry_out(Run("one", 3, program("time.sleep(60)")), 0.1)
    assert (stopped["finished"], stopped["episodes"]) == (False, [])


def test_a_run_that_fails_ends_the_measurement(capsys):
    with pytest.raises(SystemExit, match="one, seed 3, ended with 7"):
        carry_out(Run("one", 3, program("print('why'); raise SystemExit(7)")), 60.0)
    assert "why" in capsys.readouterr().err


def test_runs_are_gathered_by_side_and_written_as_they_end(monkeypatch):
    monkeypatch.setattr("benchmarks.learning.peers.carry_out", lambda run, limit: {"seed": run.seed})
    written = []
    ours, peers = "expedition", "sheeprl 0.8.4"
    found = measure(arguments(), lambda sides: written.append(copy.deepcopy(sides)))
    assert found == written[-1] == {ours: [{"seed": 5}, {"seed": 6}], peers: [{"seed": 5}, {"seed": 6}]}
    assert written[:2] == [{ours: [{"seed": 5}]}, {ours: [{"seed": 5}], peers: [{"seed": 5}]}]
