"""Overlap: who acts with which parameters, what is drawn from, and that no clock decides."""

import dataclasses
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from agents import FINITE, ActorCriticConfig, AgentConfig, DreamerAgent, PolicyPrior, PriorConfig
from envs import make_vector
from training import Checkpointer, Replay, RunConfig, TrainingConfig
from training.collecting.collector import Collector, row_spec
from training.collecting.overlap import ActingCopy, chunk_steps
from training.judging.midway import Midway
from training.logging.sinks import JsonlSink
from training.session import build_agent
from training.trainer import Trainer
from world_model import for_size

AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(imagination=2, layers=1, starts=1),
)
TRAINING = TrainingConfig(
    num_envs=2,
    batch=2,
    length=8,
    train_ratio=2.0,
    learning_starts=24,
    log_every=20,
    image_size=32,
    overlap=True,
)


def trainer(folder, steps=80, stopping=lambda: False, **changes):
    training = dataclasses.replace(TRAINING, **changes)
    config = RunConfig("catch-vector", "finetune", None, "tiny", steps, 0, AGENT, training)
    envs = make_vector(config.env, training.num_envs, training.image_size)
    agent = build_agent(config, envs, torch.device("cpu"))
    replay = Replay(training.num_envs, row_spec(envs, agent, True), 2**20)
    collector = Collector(envs, agent, replay, True, 0)
    sink, checkpointer = JsonlSink(folder), Checkpointer(folder)
    midway = Midway(config, dict, sink)
    it = Trainer(
        config, folder, agent, collector, replay, sink, checkpointer, stopping, lambda *_: None, midway
    )
    it.collector.start()
    return it


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 4),  # 2 x 8 rows at 2 rows a step are an update in 8 steps, of 2 environments
        ({"train_ratio": 3.0}, 3),
        ({"train_ratio": 100.0}, 1),  # never none
        ({"train_ratio": 0.01}, 64),  # a stop must not wait for ever
        ({"train_ratio": 0.0}, 64),
    ],
)
def test_a_chunk_is_what_lies_between_two_updates(changes, steps):
    assert chunk_steps(dataclasses.replace(TRAINING, **changes)) == steps


def test_the_schedule_is_the_one_that_is_told(tmp_path, monkeypatch):
    """Each chunk acts with the parameters, and learns from the rows, that there were when it began."""
    acted, learned, version = [], [], "behaviour.return_scale.weight"
    act, update, receive = DreamerAgent.act, DreamerAgent.update, Collector.receive
    sent = []
    it = trainer(tmp_path, steps=90)

    def acting(self, rows, state, mode, env_step=0):
        acted.append((env_step, int(self.get_buffer(version))))
        return act(self, rows, state, mode, env_step)

    def learning(self, batch, env_step=0):
        learned.append((env_step, it.replay.rows))
        self.get_buffer(version).fill_(len(learned))
        return {"loss/total": torch.zeros(()), FINITE: torch.tensor(True)}

    def counting(self):
        collected = receive(self)
        sent.append(collected[0])
        return collected

    monkeypatch.setattr(DreamerAgent, "act", acting)
    monkeypatch.setattr(DreamerAgent, "update", learning)
    monkeypatch.setattr(Collector, "receive", counting)
    assert it.learn()
    monkeypatch.setattr(DreamerAgent, "update", update)

    expected_acts, expected_updates, steps, updates, arrived = [], [], 0, 0, iter(sent)
    rows = 0
    while steps < 90:
        begin, made = steps, updates
        updates = max(0, (begin - 24) * 2 // 16)
        expected_updates += [(begin, rows)] * (updates - made)
        for _ in range(4):
            if steps < 90:
                expected_acts.append((steps, made))
                steps += next(arrived)
                rows += 2
    last = (steps - 24) * 2 // 16
    expected_updates += [(steps, rows)] * (last - updates)
    assert acted == expected_acts
    assert learned == expected_updates
    assert it.env_step == steps < 92
    assert it.updates == last == 8
    assert it.replay.rows == rows


class Inline:
    """Stands for the thread: learns at once, in the thread that collects."""

    def __init__(self, *_):
        pass

    def submit(self, learn):
        done = Future()
        done.set_result(learn())
        return done

    def shutdown(self, wait):
        pass


def parameters(it):
    return torch.cat([p.detach().flatten() for p in it.agent.parameters()])


def test_two_threads_do_what_one_would(tmp_path, monkeypatch):
    """Whichever is slower, and if nothing runs beside anything, the result is one to the last bit."""
    update, receive = DreamerAgent.update, Collector.receive
    runs, threads = {}, set()

    def slow(seconds, function):
        def slowed(*arguments):
            threads.add(threading.get_ident())
            time.sleep(seconds)
            return function(*arguments)

        return slowed

    for name in ("plain", "slow learner", "slow environments", "one thread"):
        with monkeypatch.context() as changed:
            if name == "slow learner":
                changed.setattr(DreamerAgent, "update", slow(0.02, update))
            if name == "slow environments":
                changed.setattr(Collector, "receive", slow(0.004, receive))
            if name == "one thread":
                changed.setattr("training.collecting.overlap.ThreadPoolExecutor", Inline)
            runs[name] = trainer(tmp_path / name)
            assert runs[name].learn()
    one = runs["one thread"]
    assert one.updates == 7
    assert len(threads) == 2
    for it in runs.values():
        assert torch.equal(parameters(it), parameters(one))
        for left, right in zip(it.replay.sequences(), one.replay.sequences(), strict=True):
            assert all(np.array_equal(left[name], right[name]) for name in left)
    serial = trainer(tmp_path / "serial", overlap=False)
    assert serial.learn()
    assert serial.updates == one.updates
    assert not torch.equal(parameters(serial), parameters(one)), "another schedule, another run"


def test_what_the_learner_raises_surfaces_in_the_loop(tmp_path, monkeypatch):
    def failing(*_):
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(DreamerAgent, "update", failing)
    it = trainer(tmp_path)
    with pytest.raises(ZeroDivisionError, match="no such thing"):
        it.learn()
    assert it.env_step >= 24


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_the_collector_raises_waits_for_the_learner(tmp_path, monkeypatch, error):
    learning, receive, update = [], Collector.receive, DreamerAgent.update
    it = trainer(tmp_path)

    def failing(self):
        if it.env_step > 40:
            raise error("the power went out")
        return receive(self)

    def slow(self, batch, env_step):
        learning.append(True)
        time.sleep(0.02)
        metrics = update(self, batch, env_step)
        learning.pop()
        return metrics

    monkeypatch.setattr(Collector, "receive", failing)
    monkeypatch.setattr(DreamerAgent, "update", slow)
    with pytest.raises(error, match="power"):
        it.learn()
    assert learning == []
    it.close()


def test_a_stop_comes_between_chunks_and_saves(tmp_path):
    it = trainer(tmp_path, stopping=lambda: it.env_step >= 30)
    assert not it.learn()
    assert 30 <= it.env_step < 30 + 8
    assert Checkpointer(tmp_path).latest().step == it.env_step


def test_the_copy_acts_as_the_agent_did_and_shares_what_stays(tmp_path):
    it = trainer(tmp_path, overlap=False)
    agent, teacher = it.agent, trainer(tmp_path, overlap=False).agent
    agent.attach_prior(PolicyPrior(teacher.world_model, teacher.behaviour, PriorConfig(), 100))
    acting = ActingCopy(agent)
    rows = it.collector.envs.reset(0)

    def acts(who):
        actions, state, record = who.act(rows, who.initial_state(2, 5), "train", 0)
        return [actions, state.latent.deter.numpy(), *record.values()]

    before = acts(agent)
    with torch.no_grad():
        for parameter in [*agent.world_model.parameters(), *agent.behaviour.parameters()]:
            parameter.add_(torch.rand_like(parameter, dtype=torch.float32))
    assert all(np.array_equal(x, y) for x, y in zip(before, acts(acting.agent), strict=True))
    assert not np.array_equal(before[1], acts(agent)[1])
    acting.refresh()
    assert all(np.array_equal(x, y) for x, y in zip(acts(agent), acts(acting.agent), strict=True))
    assert acting.agent.prior is agent.prior
    assert acting.agent.optimizer is agent.optimizer
