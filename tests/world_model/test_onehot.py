"""Layers that sum rows of a weight, against the matrix product."""

import pytest
import torch
import torch.nn.functional as F

from world_model import RSSM, Latent, WorldModelConfig
from world_model.nets import MLP
from world_model.onehot import Codes, by_pieces, coded_linear

VARIABLES, CLASSES, PLAIN, OUTPUTS = 5, 4, 7, 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def states(*shape):
    """One-hot states, of which one is zero, as before the first row of an episode."""
    index = torch.randint(CLASSES, (*shape, VARIABLES), generator=generator())
    stoch = F.one_hot(index, CLASSES).float()
    stoch.view(-1, VARIABLES, CLASSES)[1] = 0
    return stoch


def inputs(*shape):
    stoch = states(*shape)
    return torch.cat([torch.randn(*shape, PLAIN, generator=generator(1)), stoch.flatten(-2)], -1), stoch


def parameters():
    width = PLAIN + VARIABLES * CLASSES
    weight = torch.randn(OUTPUTS, width, generator=generator(2), requires_grad=True)
    return weight, torch.randn(OUTPUTS, generator=generator(3), requires_grad=True)


def test_codes_by_hand():
    stoch = torch.tensor([[[0.0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 0]]])
    codes = Codes.of(stoch)
    assert codes.numbers.tolist() == [[2, 6], [1, 0]]
    assert codes.width == 6


@pytest.mark.parametrize("shape", [(6,), (2, 4), (2, 3, 2)])
def test_equals_the_product_with_its_gradients(shape):
    x, stoch = inputs(*shape)
    weight, bias = parameters()
    found, expected = coded_linear(x[..., :PLAIN], Codes.of(stoch), weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(found, expected)
    scale = torch.randn(expected.shape, generator=generator(4))
    gradients = [torch.autograd.grad((y * scale).sum(), (weight, bias)) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_state_alone():
    stoch = states(6)
    weight = torch.randn(OUTPUTS, VARIABLES * CLASSES, generator=generator())
    bias = torch.randn(OUTPUTS, generator=generator(1))
    found = coded_linear(stoch.flatten(1)[:, :0], Codes.of(stoch), weight, bias)
    torch.testing.assert_close(found, F.linear(stoch.flatten(1), weight, bias))


def test_mlp_with_codes_equals_mlp_without():
    torch.manual_seed(0)
    x, stoch = inputs(2, 4)
    mlp = MLP(x.shape[-1], 6, 2, outputs=3)
    found, expected = mlp(x[..., :PLAIN], Codes.of(stoch)), mlp(x)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), list(mlp.parameters())) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_a_step_of_the_model_equals_that_of_its_dense_core():
    torch.manual_seed(0)
    config = WorldModelConfig(deter=24, hidden=10, stoch=VARIABLES, classes=CLASSES, blocks=4)
    rssm = RSSM(config, 7, 2)
    stoch, deter, action = states(6), torch.randn(6, 24), torch.randn(6, 2)
    action = rssm.core.project_action(action)
    found = rssm.predict(Latent(deter, stoch), action, generator(), Codes.of(stoch)).deter
    torch.testing.assert_close(found, rssm.core(deter, stoch.flatten(1), action))


def test_other_precisions_take_the_product():
    stoch = states(6)
    assert Codes.of(stoch.double()) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert Codes.of(stoch) is None


@pytest.mark.parametrize("coded", [True, False])
def test_pieces_equal_the_whole(monkeypatch, coded):
    monkeypatch.setattr("world_model.onehot.ROWS_AT_ONCE", 3)
    x, stoch = inputs(4, 2)
    mlp = MLP(x.shape[-1], 6, 2, outputs=3)
    seen = []

    def function(rows, codes):
        seen.append(len(rows))
        assert (codes is not None) is coded
        return mlp(rows, codes)

    found = by_pieces(function, x[..., :PLAIN] if coded else x, Codes.of(stoch) if coded else None)
    assert seen == [3, 3, 2]
    torch.testing.assert_close(found, mlp(x))


def test_codes_side_by_side():
    one, two = Codes.of(states(2)), Codes.of(states(2).flip(0))
    stacked = Codes.stack([one, two], 1)
    assert torch.equal(stacked.numbers[:, 1], two.numbers)
    assert stacked.width == one.width
    assert Codes.stack([one, None], 1) is None
