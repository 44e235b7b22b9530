"""A trained agent in a program: what it remembers, what it dreams, and what it refuses."""

import dataclasses
import json
import shutil

import gymnasium
import numpy as np
import pytest
import torch

from envs import make
from expedition import UserError, load
from experiments.library import explorer as module


@pytest.fixture
def explorer(pretrained):
    return load(pretrained, "cpu")


@pytest.fixture(scope="module")
def seen():
    """Observations of an episode of catch-vector, and the actions that led to them; None led to the first."""
    env = make("catch-vector", image_size=32)
    rows = [(env.reset(seed=3)[0], None)]
    for action in (0, 2, 1, 1, 2):
        rows.append((env.step(action)[0], action))
    return rows


def test_it_is_the_runs_agent(explorer, pretrained):
    config = json.loads((pretrained / "config.json").read_text())
    assert (explorer.step, explorer.config.env) == (64, config["env"])
    env = explorer.env()
    learned = explorer.agent.observation_space
    assert {key: space.shape for key, space in env.observation_space.items()} == {
        key: space.shape for key, space in learned.items()
    }
    assert env.action_space == explorer.agent.action_space == gymnasium.spaces.Discrete(3)


def test_it_is_loaded_where_its_environment_is_not_installed(pretrained, monkeypatch, seen):
    monkeypatch.setattr(module, "make", None)
    assert load(pretrained).act(seen[0][0]) in (0, 1, 2)


def test_seeing_row_by_row_is_filtering_the_sequence(explorer, seen):
    """The model filters the whole sequence at once, with the samples that row by row were drawn."""
    explorer.reset(seed=5)
    features = [explorer.see(observation, action) for observation, action in seen]
    source, stoch = torch.Generator().manual_seed(5), explorer.model.config.stoch
    noise = torch.cat([torch.rand(1, 1, stoch, generator=source) for _ in seen], 1)
    actions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    batch = {
        key: torch.as_tensor(np.stack([observation[key] for observation, _ in seen]))[None]
        for key in seen[0][0]
    }
    batch |= {"action": actions[None], "is_first": torch.tensor([[True] + [False] * 5])}
    with torch.no_grad():
        latents, _, _ = explorer.model.observe(batch, explorer.model.initial(1), noise)
    np.testing.assert_allclose(np.stack(features), latents.features[0].numpy(), rtol=1e-5, atol=1e-6)


def test_acting_remembers_the_episode_until_it_is_reset(explorer, seen):
    def latents(*observations):
        for observation in observations:
            explorer.act(observation)
        return explorer._state.latent.features

    first, second = seen[0][0], seen[1][0]
    explorer.reset(seed=1)
    together = latents(first, second)
    explorer.reset(seed=1)
    assert torch.equal(latents(first, second), together)
    explorer.reset(seed=1)
    latents(first)
    explorer.reset()  # of another episode, with the samples that come next
    assert not torch.equal(latents(second), together)


def test_a_seed_gives_one_episode(explorer):
    def played():
        env, done, actions = explorer.env(), False, []
        observation, _ = env.reset(seed=0)
        explorer.reset(seed=7)
        while not done:
            actions.append(int(explorer.act(observation)))
            observation, _, terminated, truncated, _ = env.step(actions[-1])
            done = terminated or truncated
        return actions

    assert played() == played()


def test_a_dream_follows_the_model(explorer, seen):
    explorer.act(seen[0][0])
    before = explorer._state.latent.features
    dream = explorer.dream(4)
    assert torch.equal(explorer._state.latent.features, before)
    np.testing.assert_array_equal(dream.features[0], before[0].numpy())
    assert dream.actions[0].tolist() == [0, 0, 0]
    assert dream.actions[1:].sum(-1).tolist() == [1, 1, 1, 1]
    with torch.no_grad():
        features = torch.as_tensor(dream.features)
        logits = explorer.model.continuation(features).squeeze(-1).numpy()
        symlogs = explorer.model.decoder(features[None])["vector"][0].numpy()
    np.testing.assert_allclose(dream.continues, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    expected = np.sign(symlogs) * (np.exp(np.abs(symlogs)) - 1)
    np.testing.assert_allclose(dream.observations["vector"], expected, rtol=1e-4, atol=1e-6)
    assert dream.rewards.shape == (5,)
    with pytest.raises(UserError, match="nothing to draw in these observations of 'catch-vector'"):
        explorer.pictures(dream.observations)


def test_images_of_a_dream_are_pictures(cli, small, tmp_path):
    flags = ("--env", "catch-pixels", "--steps", 8, "--out", tmp_path / "run")
    assert cli("pretrain", "--config", small, *flags)[0] == 0
    explorer = load(tmp_path / "run")
    explorer.act(explorer.env().reset(seed=0)[0])
    dream = explorer.dream(2)
    with torch.no_grad():
        shares = explorer.model.decoder(torch.as_tensor(dream.features)[None])["image"][0].numpy()
    pictures = explorer.pictures(dream.observations)
    assert (pictures.dtype, pictures.shape) == (np.uint8, (3, 32, 32, 3))
    assert np.abs(pictures - 255 * shares).max() <= 0.5 + 1e-3


def test_symbols_of_a_dream_are_drawn_by_the_environment(cli, small, tmp_path):
    env = "mazes-goal,size=7,observe=symbols"
    flags = ("--env", env, "--steps", 8, "--out", tmp_path / "run")
    assert cli("pretrain", "--config", small, *flags)[0] == 0
    explorer = load(tmp_path / "run")
    explorer.see(explorer.env().reset(seed=0)[0])
    dream = explorer.dream(2)
    (symbols,) = dream.observations.values()
    (space,) = explorer.agent.observation_space.values()
    assert (symbols < space.nvec).all()
    pictures = explorer.pictures(dream.observations)
    assert (len(pictures), pictures.dtype, pictures.shape[-1]) == (3, np.uint8, 3)


class Mirrored(gymnasium.Wrapper):
    """Another environment of the same spaces."""


def test_another_environment_of_the_same_spaces_is_taken(explorer):
    env = explorer.env(Mirrored(make("catch-vector", image_size=32)))
    assert explorer.act(env.reset(seed=0)[0]) in (0, 1, 2)
    assert explorer.env("catch-vector").action_space.n == 3


@pytest.mark.parametrize("other", ["CartPole-v1", "catch-pixels"])
def test_one_of_other_spaces_is_refused(explorer, other):
    with pytest.raises(UserError, match=f"'{other}' observes .* and this agent learned of vector"):
        explorer.env(other)
    if other == "CartPole-v1":
        with pytest.raises(UserError, match="'CartPoleEnv'"):
            explorer.env(gymnasium.make(other))


def test_what_makes_no_sense_gets_one_sentence(explorer, seen):
    with pytest.raises(UserError, match="Nothing was seen yet"):
        explorer.dream(3)
    explorer.act(seen[0][0])
    with pytest.raises(UserError, match="at least 1 step, not 0"):
        explorer.dream(0)
    for strange in (np.zeros(3), {"image": np.zeros(3)}):
        with pytest.raises(UserError, match=r"a dict of vector: act in `explorer.env\(\)`"):
            explorer.act(strange)


def test_a_run_without_an_agent_is_refused(pretrained, tmp_path):
    folder = shutil.copytree(pretrained, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["agent"]["kind"] = "ppo"
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is a run of 'ppo', not of an agent"):
        load(folder)


def test_a_model_free_agent_acts_and_dreams_not(cli, small, tmp_path, seen):
    flags = ("--agent.kind", "model-free", "--steps", 8, "--out", tmp_path / "run")
    assert cli("pretrain", "--config", small, *flags)[0] == 0
    explorer = load(tmp_path / "run")
    assert explorer.act(seen[0][0]) in (0, 1, 2)
    with pytest.raises(UserError, match="model-free agent cannot dream"):
        explorer.dream(2)


def test_boxes_are_acted_in_as_the_environment_takes_them(cli, small, tmp_path):
    flags = ("--env", "Pendulum-v1,max_episode_steps=20", "--steps", 8, "--out", tmp_path / "run")
    assert cli("pretrain", "--config", small, *flags)[0] == 0
    explorer = load(tmp_path / "run")
    env = explorer.env()
    observation, _ = env.reset(seed=0)
    action = explorer.act(observation)
    assert (action.shape, action.dtype) == ((1,), np.float32)
    assert np.abs(action) <= 1
    assert explorer.see(env.step(action)[0], action).shape == (explorer.model.config.features,)


def test_a_dream_cannot_be_changed(explorer, seen):
    explorer.act(seen[0][0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        explorer.dream(1).rewards = None
