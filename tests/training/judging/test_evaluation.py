"""Judging: exactly the episodes asked for, sequences by the rule of time, and honest errors."""

import functools

import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, DreamerAgent
from envs import make_vector
from training import evaluate_policy, heldout_sequences, open_loop, summarise_episodes
from training.judging.evaluation import PARALLEL, STICKY, heldout_sets
from world_model import for_size

AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(layers=1),
)


def making(env):
    return functools.partial(make_vector, env, image_size=32)


def agent_for(env):
    envs = make_vector(env, 1, 32)
    return DreamerAgent(envs.observation_space, envs.action_space, AGENT, None, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def agent():
    return agent_for("catch-vector")


@pytest.mark.parametrize("episodes", [1, 3, PARALLEL, PARALLEL + 3])
def test_exactly_the_episodes_asked_for_spread_evenly(agent, episodes):
    found = evaluate_policy(agent, making("catch-vector"), episodes, 0)
    assert len(found) == episodes
    by_env = np.bincount([episode["env"] for episode in found])
    assert by_env.max() - by_env.min() <= 1
    assert {episode["return"] for episode in found} <= {-1.0, 1.0}


def test_no_episodes_no_measures(agent):
    assert evaluate_policy(agent, making("catch-vector"), 0, 0) == []
    assert summarise_episodes("catch-vector", []) == {}


def test_evaluation_follows_its_seed_and_leaves_the_agent_as_it_was(agent):
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    generator = agent.generator.get_state()

    def returns(seed):
        episodes = evaluate_policy(agent, making("catch-vector"), 24, seed)
        return [(episode["env"], episode["return"]) for episode in episodes]

    assert returns(0) == returns(0)
    assert returns(0) != returns(1)
    assert all(torch.equal(before[name], value) for name, value in agent.state_dict().items())
    assert torch.equal(generator, agent.generator.get_state())


def test_means_of_episodes():
    episodes = [{"return": 1.0, "length": 9}, {"return": -1.0, "length": 5}]
    assert summarise_episodes("catch-vector", episodes) == {"return": 0.0, "length": 7.0}


def test_held_out_sequences_obey_the_rule_of_time():
    held = heldout_sequences(making("catch-vector"), 12, 6, 3)
    assert held["vector"].shape == (12, 6, 50)
    assert held["action"].shape == (12, 6, 3)
    assert not held["is_first"][:, 1:].any()  # whole pieces of one episode
    zero = held["action"].sum(-1) == 0
    assert np.array_equal(zero, held["is_first"])
    assert held["is_first"].any()
    again = heldout_sequences(making("catch-vector"), 12, 6, 3)
    assert all(np.array_equal(held[name], again[name]) for name in held)
    other = heldout_sequences(making("catch-vector"), 12, 6, 4)
    assert not np.array_equal(held["vector"], other["vector"])


def test_episodes_shorter_than_a_window_still_fill_it():
    held = heldout_sequences(making("catch-vector"), 4, 14, 0)
    assert held["vector"].shape == (4, 14, 50)
    assert held["is_first"][:, 1:].any()


def test_held_out_actions_move_the_world_as_they_say():
    """In catch the paddle moves by action - 1: an action a row early or late would be seen here."""
    held = heldout_sequences(making("catch-vector"), 16, 5, 0)
    grid = held["vector"].reshape(16, 5, -1, 5)
    paddle = grid[:, :, -1].argmax(-1)
    for window in range(16):
        for t in range(1, 5):
            if held["is_first"][window, t] or held["is_last"][window, t]:
                continue  # the ball may stand in the paddle's row
            move = held["action"][window, t].argmax() - 1
            assert paddle[window, t] == np.clip(paddle[window, t - 1] + move, 0, 4)


@pytest.mark.parametrize("env", ["catch-vector", "Pendulum-v1"])
def test_a_sticky_policy_repeats_the_stated_share_of_its_actions(env):
    held = heldout_sequences(making(env), 40, 9, 0, repeat=0.75)
    actions, whole = held["action"], ~held["is_first"]
    same = (actions[:, 1:] == actions[:, :-1]).all(-1)[whole[:, 1:] & whole[:, :-1]]
    share = 0.75 + 0.25 / (3 if env == "catch-vector" else np.inf)  # a new draw may be the same action
    assert same.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(same)))
    zero = np.abs(actions).sum(-1) == 0
    assert np.array_equal(zero, held["is_first"])  # nothing is repeated where nothing was done
    again = heldout_sequences(making(env), 40, 9, 0, repeat=0.75)
    assert all(np.array_equal(held[name], again[name]) for name in held)


def test_held_out_sets_begin_alike_and_the_sticky_one_gets_farther():
    sets = heldout_sets(making("MountainCarContinuous-v0"), 16, 40, 0, 0.75)
    assert list(sets) == ["", STICKY]
    random, sticky = sets.values()
    plain = heldout_sequences(making("MountainCarContinuous-v0"), 16, 40, 0)
    assert all(np.array_equal(random[name], plain[name]) for name in plain)
    assert np.array_equal(random["vector"][0, 0], sticky["vector"][0, 0])
    assert sticky["vector"].std((0, 1))[0] > 1.2 * random["vector"].std((0, 1))[0]  # the car's place
    assert list(heldout_sets(making("catch-vector"), 2, 4, 0, 0.0)) == [""]


def test_continuous_random_actions_fill_their_range():
    held = heldout_sequences(making("Pendulum-v1"), 8, 10, 0)
    actions = held["action"][~held["is_first"]]
    assert actions.min() < -0.8
    assert actions.max() > 0.8
    assert abs(actions.mean()) < 0.3


class Seer(torch.nn.Module):
    """A model whose features are the rows themselves, beside the context."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def open_loop(self, batch, context, generator):
        return batch, context


class Oracle:
    """A decoder that tells the truth with a known error from the context on."""

    def __init__(self, agent, offset):
        decoder = agent.world_model.decoder
        self.images, self.symbols, self.target = decoder.images, decoder.symbols, decoder.target
        self.difference, self.observed = decoder.difference, decoder.observed
        self.offset = offset

    def __call__(self, features):
        (batch, context), predictions = features, {}
        for key in ("vector", "image"):
            if key in batch:
                truth = self.target(key, batch[key]).clone()
                truth[:, :context] += 100.0  # what was seen is not judged
                for t in range(context, truth.shape[1]):
                    truth[:, t] += self.offset * (t - context + 1)
                predictions[key] = truth
        return predictions


@pytest.mark.parametrize(("env", "frames"), [("catch-vector", False), ("catch-pixels", True)])
def test_the_error_is_the_mean_square_over_the_rows_after_the_context(env, frames):
    held = heldout_sequences(making(env), 5, 6, 0)
    seen = open_loop(Seer(), Oracle(agent_for(env), 0.5), held, 2, 0, show=3)
    assert seen.by_horizon == pytest.approx([0.25, 1.0, 2.25, 4.0], rel=1e-5)
    assert seen.error == pytest.approx(np.mean([0.25, 1.0, 2.25, 4.0]), rel=1e-5)
    if frames:
        assert seen.frames.shape == (6, 3 * 32, 3 * 32, 3)
        assert seen.frames.dtype == np.uint8
        changes = (held["image"][:, 1:] != held["image"][:, :-1]).mean((1, 2, 3, 4))
        assert np.array_equal(seen.frames[0, :32, :32], held["image"][changes.argmax(), 0])
    else:
        assert seen.frames is None


class Guesser(Oracle):
    """Gives each symbol of FrozenLake the same probabilities."""

    def __init__(self, agent, probs):
        super().__init__(agent, 0.0)
        self.probs = torch.tensor(probs)

    def __call__(self, features):
        batch, _ = features
        return {"symbols": self.probs.log().expand(*batch["symbols"].shape, 16)}


def lake(where):
    image = np.zeros((8, 8, 3), np.uint8)
    image.reshape(64, 3)[4 * int(where["symbols"][0])] = 255
    return image


def test_symbols_are_told_by_accuracy_and_nats_and_drawn_as_most_likely():
    held = heldout_sequences(making("FrozenLake-v1"), 5, 6, 0)
    probs = np.full(16, 0.02, np.float32)
    probs[4] = 0.7
    seen = open_loop(Seer(), Guesser(agent_for("FrozenLake-v1"), probs), held, 2, 0, show=3, draw=lake)
    judged = held["symbols"][:, 2:, 0]
    right = judged == 4
    assert 0 < right.mean() < 1
    assert seen.symbols["accuracy"] == pytest.approx(right.mean())
    assert seen.symbols["nats"] == pytest.approx(-np.log(np.where(right, 0.7, 0.02)).mean(), rel=1e-5)
    brier = [np.square(probs - np.eye(16)[cells]).mean() for cells in judged.T]
    assert seen.by_horizon == pytest.approx(brier, rel=1e-5)
    assert seen.frames.shape == (6, 3 * 8, 3 * 8, 3)
    truth, predicted, difference = np.split(seen.frames[:, :, :8], 3, axis=1)
    liveliest = (held["symbols"][:, 1:] != held["symbols"][:, :-1]).sum((1, 2)).argmax()
    for t, where in enumerate(held["symbols"][liveliest]):
        assert np.array_equal(truth[t], lake({"symbols": where}))
        assert np.array_equal(predicted[t], lake({"symbols": [4]}))
        assert difference[t].any() == (where[0] != 4)


def test_a_perfect_model_has_no_error(agent):
    held = heldout_sequences(making("catch-vector"), 3, 5, 0)
    assert open_loop(Seer(), Oracle(agent, 0.0), held, 2, 0).error == 0.0


def test_open_loop_follows_its_seed_and_takes_no_gradient(agent):
    held = heldout_sequences(making("catch-vector"), 3, 5, 0)
    model = agent.world_model
    assert open_loop(model, model.decoder, held, 2, 1) == open_loop(model, model.decoder, held, 2, 1)
    assert all(p.grad is None for p in agent.parameters())
