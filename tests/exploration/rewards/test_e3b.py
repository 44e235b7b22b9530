"""The elliptical bonus against numpy's inverse."""

import numpy as np
import pytest
import torch

from exploration import E3B, E3BConfig, Sequences, Sizes
from exploration.rewards.e3b import elliptical_bonus


def numpy_bonus(features, is_first, ridge):
    """By the definition, a matrix inverse for each row, in float64."""
    found = np.zeros(features.shape[:2])
    for b, sequence in enumerate(features.astype(np.float64)):
        ellipse = ridge * np.eye(features.shape[-1])
        for t, row in enumerate(sequence):
            if is_first[b, t]:
                ellipse = ridge * np.eye(features.shape[-1])
            found[b, t] = row @ np.linalg.inv(ellipse) @ row
            ellipse = ellipse + np.outer(row, row)
    return found


@pytest.mark.parametrize("ridge", [0.1, 2.0])
def test_against_numpy(ridge):
    rng = np.random.default_rng(0)
    features = (3 * rng.normal(size=(3, 64, 8))).astype(np.float32)
    is_first = rng.random((3, 64)) < 0.05
    assert is_first[:, 1:].any()
    found = elliptical_bonus(torch.tensor(features), torch.tensor(is_first), ridge).numpy()
    np.testing.assert_allclose(found, numpy_bonus(features, is_first, ridge), rtol=2e-3, atol=1e-5)


def test_by_hand():
    # along one axis C is 0.1, then 0.1 + 4: bonuses 4 / 0.1, 4 / 4.1; the other axis is still new: 1 / 0.1
    features = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]])
    is_first = torch.zeros(1, 3, dtype=torch.bool)
    found = elliptical_bonus(features, is_first, 0.1)
    torch.testing.assert_close(found, torch.tensor([[40.0, 4 / 4.1, 10.0]]))
    is_first[0, 1] = True  # another episode: nothing is remembered
    torch.testing.assert_close(elliptical_bonus(features, is_first, 0.1)[0, 1], torch.tensor(40.0))


def make():
    torch.manual_seed(0)
    return E3B(Sizes(0, 0, 5, 2, factors=(2,), units=6), E3BConfig(outputs=3))


def rows():
    generator = torch.Generator().manual_seed(0)
    batch = {"action": torch.eye(2)[torch.randint(2, (2, 4), generator=generator)]}
    batch["is_first"] = torch.zeros(2, 4, dtype=torch.bool)
    batch["is_first"][1, 2] = True
    return batch, torch.randn(2, 4, 5, generator=generator)


def test_reward_is_the_bonus_of_the_features_and_row_0_earns_nothing():
    module, (batch, embeddings) = make(), rows()
    expected = numpy_bonus(module.inverse(embeddings).detach().numpy(), batch["is_first"].numpy(), 0.1)
    expected[:, 0] = 0
    found = module.reward(None, batch["action"], batch, embeddings)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


def test_features_learn_from_the_inverse_model_alone():
    module, (batch, embeddings) = make(), rows()
    losses = module.loss(None, batch, embeddings)
    x = Sequences.of(None, batch["action"], batch, embeddings)
    expected = module.inverse.error(module.inverse(embeddings), x) * ~batch["is_first"][:, 1:]
    found = losses.pop("e3b_inverse")
    torch.testing.assert_close(found[:, 1:], expected)
    assert (found[:, 0] == 0).all()
    assert found[1, 2] == 0
    assert losses == {}


def test_imagination_is_refused():
    with pytest.raises(ValueError, match="reward head"):
        make().reward(None, torch.zeros(2, 4, 2))
