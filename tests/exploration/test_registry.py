"""Intrinsic rewards by name."""

import gymnasium
import numpy as np
import pytest
import torch

from expedition import UserError
from exploration import INTRINSIC, Disagreement, DisagreementConfig, IntrinsicConfig, NoReward, make_intrinsic
from world_model import WorldModel, for_size

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
    }
    latents, _, embeddings = model.observe(batch, model.initial(2), torch.Generator().manual_seed(0))
    latents, embeddings = latents.detach(), embeddings.detach()
    assert all(loss.shape == (2, 5) for loss in intrinsic.loss(latents, batch, embeddings).values())
    reward = intrinsic.reward(latents, batch["action"], batch)
    assert reward.shape == (2, 5)
    assert reward.isfinite().all()
    if intrinsic.in_imagination:
        assert torch.equal(intrinsic.reward(latents, batch["action"]), reward)
    assert intrinsic.scale.deviation() == 1


@pytest.mark.parametrize(("target", "width"), [("stoch", 8), ("embedding", 8)])
def test_settings_reach_the_ensemble(target, width, model):
    settings = IntrinsicConfig(DisagreementConfig(networks=3, layers=1, units=12, target=target))
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
