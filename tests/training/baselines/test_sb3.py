"""Our rows and Stable-Baselines3's steps: nothing lost, nothing counted twice, advantages as by hand."""

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from agents import AgentConfig, PPOConfig
from envs import make_vector
from training import RunConfig
from training.baselines.bridge import Bridge
from training.baselines.sb3 import Learner

EPISODE = 3


class Count(gymnasium.Env):
    """Shows the time of the episode, pays it, and ends (or is cut off) after `EPISODE` steps."""

    observation_space = gymnasium.spaces.Box(0, 10, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    cut = False

    def reset(self, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        end = self.time == EPISODE
        seen = np.full(1, self.time, np.float32)
        return seen, float(self.time), end and not self.cut, end and self.cut, {}


class Cut(Count):
    cut = True


def learner(env=Count, num_envs=2, **ppo):
    settings = {"rollout": 8 * num_envs, "batch": 5, "epochs": 1, "normalise_vectors": False, **ppo}
    agent = AgentConfig(kind="ppo", ppo=PPOConfig(normalise_reward=False, **settings))
    config = RunConfig("own", "finetune", None, "tiny", 1000, 0, agent)
    return Learner(config, make_vector(env, num_envs), torch.device("cpu"))


@pytest.mark.parametrize("env", [Count, Cut])
def test_an_end_is_told_with_the_last_observation(env):
    bridge = Bridge(make_vector(env, 1), seed=0)
    seen = [bridge.reset()["vector"][0, 0]]
    dones, rewards = [], []
    for _ in range(5):
        observations, reward, done, infos = bridge.step(np.zeros(1, int))
        seen.append(observations["vector"][0, 0])
        dones.append(done[0])
        rewards.append(reward[0])
        if done[0]:
            assert infos[0]["terminal_observation"]["vector"][0] == EPISODE
            assert infos[0]["TimeLimit.truncated"] is (env is Cut)
    assert seen == [0, 1, 2, 3, 0, 1]
    assert dones == [False, False, True, False, False]
    assert rewards == [1, 2, 3, 0, 1]
    assert bridge.steps == 4  # the choice made on the last row reached no environment
    assert [episode["return"] for episode in bridge.episodes] == [6]


def test_an_episode_that_a_lost_worker_cut_off_is_bootstrapped():
    bridge = Bridge(make_vector(Count, 1), seed=0)
    bridge.reset()
    bridge.step(np.zeros(1, int))
    rows = bridge.envs.reset(1)  # a first row after one that was not last
    bridge.envs.receive = lambda: rows
    _, _, done, infos = bridge.step_wait()
    assert done[0]
    assert infos[0]["terminal_observation"]["vector"][0] == 1
    assert infos[0]["TimeLimit.truncated"]
    assert bridge.steps == 1


@pytest.mark.parametrize("env", [Count, Cut])
def test_advantages_are_those_of_the_real_steps(env):
    """Equation 16 of Schulman et al. 2015, summed by hand over each episode's own steps."""
    made = learner(env, num_envs=1)
    made.start()
    buffer = made.ppo.rollout_buffer
    assert made.learn(8, 0, update=False, after_row=lambda: True) == {}
    value = {
        float(t): float(made.ppo.policy.predict_values({"vector": torch.tensor([[float(t)]])}).detach())
        for t in range(EPISODE + 1)
    }
    value_at_end = value[3.0] if env is Cut else 0.0
    discount, decay = 0.99, 0.95
    # rows 0 1 2 are an episode, 3 the ignored choice, 4 5 6 an episode, 7 ignored
    deltas = [
        1 + discount * value[1.0] - value[0.0],
        2 + discount * value[2.0] - value[1.0],
        3 + discount * value_at_end - value[2.0],
    ]
    expected = [sum((discount * decay) ** (k - t) * deltas[k] for k in range(t, 3)) for t in range(3)]
    assert buffer.advantages[:3, 0] == pytest.approx(expected, abs=1e-5)
    assert buffer.advantages[4:7, 0] == pytest.approx(expected, abs=1e-5)
    assert made.bridge.steps == 6


def test_every_real_step_is_learned_from_once():
    made = learner()
    made.start()
    made.learn(8, 0, update=False, after_row=lambda: True)
    batches = list(made.ppo.rollout_buffer.get(5))
    seen = np.concatenate([batch.observations["vector"][:, 0].numpy() for batch in batches])
    assert sorted(seen) == sorted([0.0, 1.0, 2.0] * 4)  # two episodes in each of two environments, no end
    assert [len(batch.actions) for batch in batches] == [6, 6]  # 12 in batches of about 5
    again = list(made.ppo.rollout_buffer.get(None))
    assert len(again) == 1
    assert len(again[0].actions) == 12


def test_a_rollout_that_is_given_up_changes_no_weight():
    made = learner()
    made.start()
    before = {name: value.clone() for name, value in made.ppo.policy.state_dict().items()}
    assert made.learn(8, 0, update=True, after_row=lambda: made.bridge.steps < 4) is None
    assert all(torch.equal(value, before[name]) for name, value in made.ppo.policy.state_dict().items())


def test_moments_of_vectors_are_numpys():
    made = learner(normalise_vectors=True)
    made.start()
    made.learn(8, 0, update=False, after_row=lambda: True)
    moments = made.state_dict()["moments"]["observations"]["vector"]
    told = [0, 1, 2, 3, 0, 1, 2, 3, 0] * 2  # first rows, and the eight that followed, of two environments
    assert moments["mean"] == pytest.approx(np.mean(told), abs=1e-3)
    assert moments["var"] == pytest.approx(np.var(told), abs=1e-3)


def test_annealing_follows_the_budget():
    made = learner(anneal=True, lr=1e-3)
    made.bridge.steps = 250
    assert made.ppo.lr_schedule(1.0) == pytest.approx(0.75e-3)
    assert made.ppo.clip_range(1.0) == pytest.approx(0.15)
    fixed = learner(lr=1e-3)
    fixed.bridge.steps = 250
    assert fixed.ppo.lr_schedule(1.0) == pytest.approx(1e-3)
