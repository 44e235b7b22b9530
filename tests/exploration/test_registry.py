"""Intrinsic rewards by name, and those of packages."""

import functools
from importlib import metadata
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from expedition import UserError
from exploration import (
    EARNED,
    INTRINSIC,
    Disagreement,
    DisagreementConfig,
    IntrinsicConfig,
    NoReward,
    RandomData,
    check_intrinsic,
    make_intrinsic,
)
from exploration.registry import ENTRY_POINTS, packaged
from world_model import Latent, WorldModel, for_size

SPACE = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-1, 1, (3,), np.float32)})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = for_size("tiny", deter=16, hidden=8, units=8, stoch=2, classes=4, blocks=2)
    return WorldModel(SPACE, gymnasium.spaces.Discrete(3), config)


@pytest.mark.parametrize("name", INTRINSIC)
def test_each_fits_the_model(name, model):
    intrinsic = make_intrinsic(name, SPACE, model, IntrinsicConfig())
    batch = {
        "vector": torch.randn(2, 5, 3),
        "action": torch.eye(3)[torch.tensor([[0, 1, 2, 0, 1]] * 2)],
        "is_first": torch.zeros(2, 5, dtype=torch.bool),
        EARNED: torch.rand(2, 5),
    }
    latents, _, embeddings = model.observe(batch, model.initial(2), torch.rand(2, 5, 2))
    latents, embeddings = latents.detach(), embeddings.detach()
    assert all(loss.shape == (2, 5) for loss in intrinsic.loss(latents, batch, embeddings).values())
    reward = intrinsic.reward(latents, batch["action"], batch, embeddings)
    assert not reward.requires_grad
    assert reward.shape == (2, 5)
    assert reward.isfinite().all()
    if intrinsic.in_imagination:
        assert torch.equal(intrinsic.reward(latents, batch["action"]), reward)
    else:
        with pytest.raises(ValueError, match="reward head"):
            intrinsic.reward(latents, batch["action"])
    assert intrinsic.scale.deviation() == 1


@pytest.mark.parametrize("name", INTRINSIC)
def test_each_can_be_batched_over_seeds(name, model):
    seeds = [make_intrinsic(name, SPACE, model, IntrinsicConfig()) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    rows = {
        "vector": torch.randn(2, 2, 5, 3, generator=generator),
        "action": torch.eye(3)[torch.randint(3, (2, 2, 5), generator=generator)],
        "is_first": torch.rand(2, 2, 5, generator=generator) < 0.2,
        EARNED: torch.rand(2, 2, 5, generator=generator),
    }
    deter = torch.randn(2, 2, 5, 16, generator=generator)
    stoch = torch.eye(4)[torch.randint(4, (2, 2, 5, 2), generator=generator)]
    embeddings = torch.randn(2, 2, 5, model.encoder.width, generator=generator)

    def update(module, deter, stoch, rows, embeddings):
        latents = Latent(deter, stoch)
        module.take_in(rows)
        reward = module.reward(latents, rows["action"], rows, embeddings)
        return reward, module.loss(latents, rows, embeddings)

    class Update(torch.nn.Module):
        def __init__(self, reward):
            super().__init__()
            self.reward = reward

        def forward(self, *x):
            return update(self.reward, *x)

    weights, state = torch.func.stack_module_state([Update(seed) for seed in seeds])
    call = functools.partial(torch.func.functional_call, Update(seeds[0]))
    batched = torch.vmap(lambda w, s, *x: call((w, s), x))
    found, found_losses = batched(weights, state, deter, stoch, rows, embeddings)
    for i, seed in enumerate(seeds):
        mine = {key: value[i] for key, value in rows.items()}
        reward, losses = update(seed, deter[i], stoch[i], mine, embeddings[i])
        torch.testing.assert_close(found[i], reward, rtol=1e-4, atol=1e-5)
        assert found_losses.keys() == losses.keys()
        for key, loss in losses.items():
            torch.testing.assert_close(found_losses[key][i], loss, rtol=1e-4, atol=1e-5)
        for key, buffer in seed.named_buffers():
            torch.testing.assert_close(state[f"reward.{key}"][i], buffer)


@pytest.mark.parametrize(("target", "width"), [("stoch", 8), ("embedding", 8)])
def test_settings_reach_the_ensemble(target, width, model):
    ensemble = DisagreementConfig(networks=3, layers=1, units=12, target=target)
    settings = IntrinsicConfig(disagreement=ensemble)
    made = make_intrinsic("disagreement", SPACE, model, settings)
    assert isinstance(made, Disagreement)
    assert [tuple(w.shape) for w in made.ensemble.weights] == [(3, 16 + 8 + 3, 12), (3, 12, width)]


def test_none_rewards_nothing(model):
    made = make_intrinsic("none", SPACE, model, IntrinsicConfig())
    assert isinstance(made, NoReward)
    assert list(made.parameters()) == []
    assert made.reward(model.initial(2), torch.ones(2, 4, 3)).tolist() == [[0.0] * 4] * 2


def test_unknown_name_gets_the_nearest(model):
    with pytest.raises(UserError, match="disagreement"):
        make_intrinsic("disagrement", SPACE, model, IntrinsicConfig())


def test_only_random_data_acts_randomly(model):
    made = {name: make_intrinsic(name, SPACE, model, IntrinsicConfig()) for name in INTRINSIC}
    assert [name for name, reward in made.items() if reward.acts_randomly] == ["random-data"]
    assert isinstance(made["random-data"], RandomData)


@pytest.mark.parametrize("clip", [False, True])
def test_clipping_is_a_setting_of_every_reward(clip, model):
    for name in INTRINSIC:
        assert make_intrinsic(name, SPACE, model, IntrinsicConfig(clip=clip)).scale.clip is clip


THEIRS = """
import torch
from exploration import IntrinsicReward

class Theirs(IntrinsicReward):
    in_imagination = True

    def __init__(self, space, model, factor="1"):
        super().__init__()
        self.factor = float(factor)

    def reward_of(self, x):
        return self.factor * torch.ones(x.actions.shape[:2])

class Mute(Theirs):
    in_imagination = property()

def nothing(space, model):
    return None
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that installs a package with entry points, name -> object in its module."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(module, **points):
        (tmp_path / f"{module}.py").write_text(THEIRS)
        folder = tmp_path / f"{module}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *lines]))
        for name, entry in packaged().items():
            monkeypatch.setitem(INTRINSIC, name, entry)

    return install


def test_an_installed_package_adds_a_reward(package, model):
    package("their_rewards", theirs="their_rewards:Theirs")
    assert "their_rewards:Theirs" in INTRINSIC["theirs"][0]
    for options, factor in (((), 1.0), (("factor=2.5",), 2.5)):
        made = make_intrinsic("theirs", SPACE, model, IntrinsicConfig(options=options))
        assert made.reward(None, torch.zeros(1, 2, 3)).tolist() == [[factor, factor]]


@pytest.mark.parametrize(
    ("value", "options", "problem"),
    [
        ("broken_rewards:Missing", (), "'bad' of 'broken_rewards:Missing' cannot be made .*Missing"),
        ("not_there:Theirs", (), "of 'not_there:Theirs' cannot be made .*not_there"),
        ("broken_rewards:nothing", (), "it gives no IntrinsicReward"),
        ("broken_rewards:Mute", (), "says whether it is in_imagination"),
        ("broken_rewards:Theirs", ("fctor=1",), "fctor"),
        ("broken_rewards:Theirs", ("factor=red",), "red"),
        ("broken_rewards:Theirs", ("factor",), "must be written as name=value"),
    ],
)
def test_a_broken_package_gets_one_sentence_when_it_is_used(value, options, problem, package, model):
    package("broken_rewards", bad=value)
    with pytest.raises(UserError, match=problem) as caught:
        make_intrinsic("bad", SPACE, model, IntrinsicConfig(options=options))
    assert "\n" not in str(caught.value)


def test_a_taken_name_is_left_out(package, caplog):
    package("rude_rewards", rnd="rude_rewards:Theirs")
    assert "rnd" not in packaged()
    assert "the name is taken" in caplog.text


def test_ours_take_no_options(model):
    with pytest.raises(UserError, match="'rnd' takes no options"):
        make_intrinsic("rnd", SPACE, model, IntrinsicConfig(options=("clip=3",)))


def snippet():
    """The example of docs/intrinsic.md."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "intrinsic.md").read_text()
    return text.split("```python\n")[1].split("```")[0]


def test_the_documented_example_works_and_is_short(tmp_path, monkeypatch, model):
    assert len(snippet().splitlines()) < 40
    (tmp_path / "distance.py").write_text(snippet())
    monkeypatch.syspath_prepend(tmp_path)
    point = metadata.EntryPoint("distance", "distance:Distance", ENTRY_POINTS)
    monkeypatch.setattr("exploration.registry.metadata.entry_points", lambda group: [point])
    monkeypatch.setitem(INTRINSIC, "distance", packaged()["distance"])
    test_each_fits_the_model("distance", model)
    test_each_can_be_batched_over_seeds("distance", model)


def test_a_class_is_named_by_its_module(tmp_path, monkeypatch, model):
    (tmp_path / "own_rewards.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    made = make_intrinsic("own_rewards:Theirs", SPACE, model, IntrinsicConfig(options=("factor=3",)))
    assert made.reward(None, torch.zeros(1, 2, 3)).tolist() == [[3, 3]]
    check_intrinsic("own_rewards:Theirs")
    for name, problem in (("own_rewards:Missing", "Missing"), ("no_such:Theirs", "no_such"), (":", "")):
        with pytest.raises(UserError, match=f"'{name}' cannot be made .*{problem}.*PYTHONPATH"):
            make_intrinsic(name, SPACE, model, IntrinsicConfig())
    with pytest.raises(UserError, match="did you mean rnd"):
        check_intrinsic("rdn")
