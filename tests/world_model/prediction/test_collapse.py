"""Effective rank: worked numbers."""

import math

import pytest
import torch

from world_model.prediction import effective_rank


@pytest.mark.parametrize(
    ("embeddings", "rank"),
    [
        (torch.ones(10, 6), 1),
        (torch.arange(1.0, 9)[:, None] * torch.ones(8, 5), 1),  # one direction, whatever the lengths
        (torch.zeros(4, 3), 1),
        (3 * torch.eye(7), 7),
        (torch.eye(5, 9), 5),
        (torch.eye(4).repeat(6, 1), 4),
        (torch.diag(torch.tensor([2.0, 1, 1])), 2**1.5),  # shares 1/2, 1/4, 1/4: one and a half bits
        (torch.diag(torch.tensor([3.0, 1])), math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4))),
    ],
)
def test_worked_numbers(embeddings, rank):
    assert effective_rank(embeddings).item() == pytest.approx(rank, rel=1e-4)
