"""Actions that point, as the dynamics read them."""

import dataclasses

import pytest
import torch
from gymnasium import spaces

from expedition import UserError
from expedition.pointing import Pointing
from world_model import WorldModelConfig
from world_model.objects import PointedActions, place_codes, pointed_actions, pointed_factors
from world_model.objects.places import CODE
from world_model.sizes import ObjectsConfig

GRAPH = WorldModelConfig()
PLAIN = dataclasses.replace(GRAPH, objects=ObjectsConfig(kind="plain"))


def test_a_pointed_factor_becomes_the_code_of_its_row():
    reads = PointedActions((2, 5), (None, "blocks"))
    assert reads.width == 2 + CODE
    action = torch.tensor([[0.0, 1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0]])
    found = reads(action)
    torch.testing.assert_close(found[0], torch.cat([torch.tensor([0.0, 1]), place_codes(5)[3]]))
    assert not found[1].any()  # no action led here


def test_more_objects_leave_the_code_as_it_is():
    few, many = PointedActions((5,), ("blocks",)), PointedActions((9,), ("blocks",))
    assert few.width == many.width
    torch.testing.assert_close(few(torch.eye(5)), many(torch.eye(9))[:5])


@pytest.mark.parametrize(
    ("space", "config", "pointed"),
    [
        (Pointing([2, 5], {1: "blocks"}), GRAPH, (None, "blocks")),
        (Pointing([2, 5], {1: "blocks"}), PLAIN, (None, None)),
        (spaces.MultiDiscrete([2, 5]), GRAPH, (None, None)),
        (spaces.Box(-1, 1, (3,)), GRAPH, ()),
    ],
)
def test_who_points(space, config, pointed):
    assert pointed_factors(space, config) == pointed
    assert (pointed_actions(space, config) is None) == (not any(pointed))


def test_rows_that_are_pointed_at_need_their_numbers():
    blind = dataclasses.replace(GRAPH, objects=ObjectsConfig(numbered=False))
    with pytest.raises(UserError, match=r"numbered cannot tell apart: leave that true, or choose"):
        pointed_factors(Pointing([2, 5], {1: "blocks"}), blind)
    assert pointed_factors(spaces.MultiDiscrete([2, 5]), blind) == (None, None)
    plain = dataclasses.replace(GRAPH, objects=ObjectsConfig(kind="plain", numbered=False))
    assert pointed_factors(Pointing([2, 5], {1: "blocks"}), plain) == (None, None)
