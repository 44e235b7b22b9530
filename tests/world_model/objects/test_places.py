"""Codes of places, and what is made of one vector for every place."""

import math

import pytest
import torch
import torch.nn.functional as F

from world_model.objects import PlacedMLP, place_codes
from world_model.objects.places import CODE


def test_codes_by_hand():
    codes = place_codes(4)
    assert codes.shape == (4, CODE)
    assert codes[0].tolist() == [0.0] * 16 + [1.0] * 16
    shares = [k * 0.6180339887498949 % 1 for k in range(1, 17)]
    expected = [math.sin(3 * math.pi * s) for s in shares] + [math.cos(3 * math.pi * s) for s in shares]
    torch.testing.assert_close(codes[3], torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rows", "most"), [(8, 0.15), (16, 0.2), (64, 0.5)])
def test_codes_are_nearly_orthogonal(rows, most):
    codes = place_codes(rows) / (CODE / 2) ** 0.5
    alike = codes @ codes.T - torch.eye(rows)
    assert alike.abs().max() < most


def test_a_place_has_one_code():
    torch.testing.assert_close(place_codes(5), place_codes(60)[:5])


def test_each_place_is_an_mlp_of_both():
    torch.manual_seed(0)
    placed, codes, x = PlacedMLP(6, 5, 2, 3), place_codes(4), torch.randn(2, 7, 6)
    found = placed(x[..., None, :], codes)
    assert found.shape == (2, 7, 4, 3)
    weight = torch.cat([placed.shared.weight, placed.own.weight], 1)
    for place in range(4):
        both = torch.cat([x, codes[place].expand(2, 7, CODE)], -1)
        hidden = F.silu(placed.norm(F.linear(both, weight, placed.shared.bias)))
        torch.testing.assert_close(found[..., place, :], placed.rest(hidden))


def test_the_same_weights_fill_more_places():
    torch.manual_seed(0)
    placed, x = PlacedMLP(6, 5, 2, 3), torch.randn(2, 6)
    many, few = (placed(x[:, None], place_codes(count)) for count in (9, 4))
    torch.testing.assert_close(many[:, :4], few)
