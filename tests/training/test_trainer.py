"""The loop: how many updates are owed, when it logs, and when it stops."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agents import FINITE, ActorCriticConfig, AgentConfig
from envs import make_vector
from expedition import UserError
from training import Checkpointer, Replay, RunConfig, TrainingConfig
from training.budget import planned_updates
from training.collecting.collector import Collector, row_spec
from training.judging.midway import Midway
from training.logging.sinks import JsonlSink
from training.session import build_agent
from training.trainer import Means, Trainer
from world_model import for_size

AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(imagination=2, layers=1, starts=1),
)
TRAINING = TrainingConfig(
    num_envs=2, batch=2, length=8, train_ratio=2.0, learning_starts=24, log_every=20, image_size=32
)


class Still:
    """Stands for the agent where learning is not the point: counts updates, sees what reaches it."""

    def __init__(self, agent, loss=1.0):
        self._agent, self._loss, self.finite = agent, loss, True
        self.seen = []

    def __getattr__(self, name):
        return getattr(self._agent, name)

    def update(self, batch, env_step):
        self.seen.append((env_step, sorted(batch)))
        return {"loss/total": torch.tensor(self._loss), FINITE: torch.tensor(self.finite)}


def trainer(
    folder,
    steps=80,
    phase="finetune",
    stopping=lambda: False,
    loss=1.0,
    env="catch-vector",
    measure=dict,
    **changes,
):
    training = dataclasses.replace(TRAINING, **changes)
    config = RunConfig(env, phase, "rnd", "tiny", steps, 0, AGENT, training)
    envs = make_vector(config.env, training.num_envs, training.image_size)
    agent = build_agent(config, envs, torch.device("cpu"))
    task_reward = phase == "finetune"
    replay = Replay(training.num_envs, row_spec(envs, agent, task_reward), 2**20)
    still = Still(agent, loss)
    told, sink = [], JsonlSink(folder)
    it = Trainer(
        config,
        folder,
        still,
        Collector(envs, agent, replay, task_reward, 0),
        replay,
        sink,
        Checkpointer(folder),
        stopping,
        lambda *what: told.append(what),
        Midway(config, measure, sink),
    )
    it.told, it.still = told, still
    it.collector.start()
    return it


def test_the_train_ratio_is_kept(tmp_path):
    it = trainer(tmp_path, steps=100, train_ratio=4.0)
    assert it.learn()
    assert it.env_step >= 100
    assert it.updates == int((it.env_step - 24) * 4.0 / (2 * 8)) == len(it.still.seen)
    assert planned_updates(it.config) == int((100 - 24) * 4.0 / 16)
    first = it.still.seen[0][0]
    assert first >= 24 + 4  # the first update is owed 16 / 4 steps after the start
    assert [step for step, *_ in it.told] == sorted(step for step, *_ in it.told)


@pytest.mark.parametrize(
    ("changes", "steps"), [({"learning_starts": 200}, 60), ({"length": 64}, 60), ({"train_ratio": 0.0}, 60)]
)
def test_no_update_before_it_can_be(tmp_path, changes, steps):
    it = trainer(tmp_path, steps=steps, **changes)
    assert it.learn()
    assert it.updates == planned_updates(it.config) == 0


def test_the_tasks_reward_reaches_the_learner_in_phase_two_alone(tmp_path):
    for phase in ("pretrain", "finetune"):
        it = trainer(tmp_path / phase, phase=phase)
        it.learn()
        names = {name for _, keys in it.still.seen for name in keys}
        known = {"vector", "action", "is_first", "is_last", "is_terminal", "behaviour/log_prob"}
        assert names == known | ({"reward"} if phase == "finetune" else set())


def test_metrics_and_episodes_are_logged_by_their_steps(tmp_path):
    it = trainer(tmp_path, steps=90)
    it.learn()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["env_step"] // 20 for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss/total"] == 1.0
    assert lines[-1]["updates"] <= it.updates
    episodes = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert len(episodes) == it.episodes > 5
    assert all(episode["length"] == 9 for episode in episodes)


def test_a_stop_saves_and_leaves(tmp_path):
    it = trainer(tmp_path, stopping=lambda: bool(it.told) and it.told[-1][0] >= 30)
    assert not it.learn()
    assert 30 <= it.env_step < 40
    assert Checkpointer(tmp_path).latest().step == it.env_step


def test_divergence_is_told_and_the_last_checkpoint_kept(tmp_path):
    it = trainer(tmp_path, loss=float("nan"), checkpoint_seconds=0.0)
    with pytest.raises(UserError, match=r"diverged before step .*loss/total not finite"):
        it.learn()
    assert Checkpointer(tmp_path).latest() is not None


def test_a_few_updates_that_cannot_be_made_are_counted_and_left_out(tmp_path):
    it = trainer(tmp_path, steps=90)
    made = it.still.update

    def update(batch, env_step):
        it.still.finite = len(it.still.seen) % 3 != 0
        return made(batch, env_step)

    it.still.update = update
    assert it.learn()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["skipped_updates"] == (lines[-1]["updates"] + 2) // 3 > 1
    assert lines[-1]["loss/total"] == 1.0
    resumed = trainer(tmp_path)
    resumed.resume(Checkpointer(tmp_path).latest())
    assert resumed._skipped.state_dict() == it._skipped.state_dict()


DIVERGED = r"diverged: in 10 updates in a row .*loss/total.*diverged\.safetensors.*lower --agent"


def test_many_in_a_row_end_the_run_and_leave_the_batch(tmp_path):
    it = trainer(tmp_path, steps=900, loss=float("nan"))
    it.still.finite = False
    with pytest.raises(UserError, match=DIVERGED):
        it.learn()
    assert it.updates >= 10
    assert load_file(tmp_path / "diverged.safetensors")["is_first"].shape == (2, 8)
    assert Checkpointer(tmp_path).latest().step == it.env_step
    again = trainer(tmp_path, steps=900, loss=float("nan"))
    again.resume(Checkpointer(tmp_path).latest())
    again.still.finite = False
    with pytest.raises(UserError, match=rf"in {it.updates + 1} updates in a row"):
        again.learn()


def test_many_in_a_row_before_the_first_step_end_the_run_too(tmp_path):
    it = trainer(tmp_path, loss=float("nan"), offline_updates=12)
    it.still.finite = False
    for _ in range(20):
        it.collector.step(0)
    with pytest.raises(UserError, match=DIVERGED):
        it.learn_offline(lambda: None, False)
    assert it.updates == 10
    assert Checkpointer(tmp_path).latest().step == 0


def test_checkpoints_follow_the_clock_and_the_end(tmp_path):
    it = trainer(tmp_path / "often", steps=20, checkpoint_seconds=0.0)
    saves = []
    it.save = lambda: saves.append(it.env_step)
    it.learn()
    assert len(saves) == len(it.told) + 1
    it = trainer(tmp_path / "seldom", steps=20)
    it.save = lambda: saves.append("end")
    it.learn()
    assert saves.count("end") == 1


def test_a_resumed_loop_has_its_counters_and_draws(tmp_path):
    one = trainer(tmp_path / "one", steps=60)
    one.learn()
    two = trainer(tmp_path / "two", steps=60)
    two.resume(Checkpointer(tmp_path / "one").latest())
    assert (two.env_step, two.updates, two.episodes) == (one.env_step, one.updates, one.episodes)
    assert two.seconds == pytest.approx(one.seconds)
    assert two._rng.bit_generator.state == one._rng.bit_generator.state
    batches = [it.replay.sample(2, 8, np.random.default_rng(0)) for it in (one, two)]
    assert all(np.array_equal(batches[0][name], batches[1][name]) for name in batches[0])


def test_means_are_over_the_updates_since_the_last_line():
    means = Means()
    for value in (1.0, 2.0, 6.0):
        means.add({"a": torch.tensor(value)})
    saved = means.state_dict()
    assert means.pop() == {"a": 3.0}
    assert means.pop() == {}
    other = Means()
    other.load_state_dict(saved, torch.device("cpu"))
    other.add({"a": torch.tensor(3.0)})
    assert other.pop() == {"a": 3.0}


def test_what_episodes_reached_is_joined_logged_and_resumed(tmp_path):
    it = trainer(tmp_path, steps=800, env="maze-vector", learning_starts=10**6, log_every=400)
    assert it.learn()
    episodes = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    most = max(episode["cells_visited"] for episode in episodes)
    assert len(episodes) == 4
    assert all("reached" not in episode for episode in episodes)  # kept for the whole run instead
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    reached = [line["coverage/reached"] for line in lines if "coverage/reached" in line]
    assert reached == sorted(reached)
    assert most <= reached[-1] <= sum(episode["cells_visited"] for episode in episodes) - 3  # one start
    assert lines[-1]["coverage/reached_share"] == reached[-1] / 97
    assert lines[-1]["coverage/particle_entropy"] == it.coverage.entropy()
    other = trainer(tmp_path / "other", env="maze-vector")
    other.resume(Checkpointer(tmp_path).latest())
    assert other.coverage.result() == it.coverage.result()
    assert len(other.coverage.result()["reached"]) == reached[-1]


def test_it_evaluates_midway_at_the_first_step_past_each_multiple(tmp_path):
    it = trainer(tmp_path, steps=81, evaluate_every=20, measure=lambda: {"return": it.env_step / 10})
    assert it.learn()
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    points = [(line["env_step"], line["evaluation/return"]) for line in told if "evaluation/return" in line]
    assert [step // 20 for step, _ in points] == [1, 2, 3, 4]
    assert all(step % 20 < 2 for step, _ in points)  # two environments
    assert [value for _, value in points] == [step / 10 for step, _ in points]
    assert it.midway.seconds > 0


def test_evaluations_of_no_episodes_are_refused():
    with pytest.raises(UserError, match="evaluations of no episodes"):
        dataclasses.replace(TRAINING, evaluate_every=9, evaluation_episodes=0)
