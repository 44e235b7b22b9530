"""Codes of places, and what is made of one vector for every place."""

import math

import torch
import torch.nn.functional as F

from world_model.objects import PlacedMLP, place_codes
from world_model.objects.places import CODE


def test_codes_by_hand():
    codes = place_codes(4)
    assert codes.shape == (4, CODE)
    assert codes[0].tolist() == [0.0] * 8 + [1.0] * 8
    speeds = [100 ** (-k / 8) for k in range(8)]
    expected = [math.sin(3 * s) for s in speeds] + [math.cos(3 * s) for s in speeds]
    torch.testing.assert_close(codes[3], torch.tensor(expected))


def test_a_place_has_one_code_and_no_other_has_it():
    torch.testing.assert_close(place_codes(5), place_codes(60)[:5])
    apart = torch.cdist(place_codes(60), place_codes(60)) + 9 * torch.eye(60)
    assert apart.min() > 0.5


def test_each_place_is_an_mlp_of_both():
    torch.manual_seed(0)
    placed, codes, x = PlacedMLP(6, 5, 2, 3), place_codes(4), torch.randn(2, 7, 6)
    found = placed(x, codes)
    assert found.shape == (2, 7, 4, 3)
    weight = torch.cat([placed.shared.weight, placed.own.weight], 1)
    for place in range(4):
        both = torch.cat([x, codes[place].expand(2, 7, CODE)], -1)
        hidden = F.silu(placed.norm(F.linear(both, weight, placed.shared.bias)))
        torch.testing.assert_close(found[..., place, :], placed.rest(hidden))


def test_the_same_weights_fill_more_places():
    torch.manual_seed(0)
    placed, x = PlacedMLP(6, 5, 2, 3), torch.randn(2, 6)
    torch.testing.assert_close(placed(x, place_codes(9))[:, :4], placed(x, place_codes(4)))
