"""Discrete observations against torch's own distributions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch.distributions import Categorical

from world_model import WorldModel, for_size
from world_model.symbols import SymbolEntries, Symbols, negative_log_likelihood

SIZES = (3, 2, 5)


def drawn(*shape):
    rng = np.random.default_rng(0)
    return torch.tensor(np.stack([rng.integers(n, size=shape) for n in SIZES], -1).astype(np.uint8))


def test_one_hot_is_torchs():
    symbols = drawn(4, 7)
    assert torch.equal(Symbols(SIZES).one_hot(symbols), F.one_hot(symbols.long(), 5).float())


def test_log_probabilities_are_of_the_possible_values_alone():
    logits = torch.randn(4, 7, 15, generator=torch.Generator().manual_seed(0))
    found = Symbols(SIZES).log_probs(logits)
    for at, size in enumerate(SIZES):
        own = logits[..., 5 * at : 5 * at + size]
        torch.testing.assert_close(found[:, :, at, :size], own - own.logsumexp(-1, keepdim=True))
        assert (found[:, :, at, size:] == -torch.inf).all()


def test_likelihood_is_that_of_categoricals_and_its_gradient_is_finite():
    logits = torch.randn(4, 15, generator=torch.Generator().manual_seed(0), requires_grad=True)
    symbols = drawn(4)
    found = negative_log_likelihood(Symbols(SIZES).log_probs(logits), symbols)
    for at, size in enumerate(SIZES):
        theirs = Categorical(logits=logits[:, 5 * at : 5 * at + size]).log_prob(symbols[:, at].long())
        torch.testing.assert_close(found[:, at], -theirs)
    found.sum().backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad.reshape(4, 3, 5)[:, 1, 2:].any()  # impossible values learn nothing


def test_entries_are_found_by_name_and_concatenated():
    entries = SymbolEntries({"b": (2,), "a": (3, 3)})
    assert entries.widths == {"b": 2, "a": 6}
    first, second = entries.one_hot({"a": torch.tensor([[2, 0]]), "b": torch.tensor([[1]])})
    assert (first.tolist(), second.tolist()) == ([[0, 1]], [[0, 0, 1, 1, 0, 0]])
    assert not entries.state_dict()  # nothing that a checkpoint would have to hold


@pytest.fixture
def model():
    torch.manual_seed(0)
    seen = spaces.Dict({"cells": spaces.MultiDiscrete(SIZES, dtype=np.uint8), "v": spaces.Box(-1, 1, (2,))})
    config = for_size("tiny", deter=32, hidden=16, stoch=4, classes=4, blocks=4, units=32, depth=2)
    return WorldModel(seen, spaces.Discrete(2), config)


def batch(rows, length):
    return {
        "cells": drawn(rows, length),
        "v": torch.zeros(rows, length, 2),
        "action": F.one_hot(torch.arange(rows * length).reshape(rows, length) % 2, 2).float(),
        "is_first": torch.arange(length).expand(rows, length) == 0,
        "is_terminal": torch.zeros(rows, length, dtype=torch.bool),
    }


def test_a_model_tells_symbols_of_its_own_order_by_nats(model):
    rows, noise = batch(2, 3), torch.rand(2, 3, 4)
    losses, latents, embeddings, _ = model.loss(rows, noise)
    assert embeddings.shape == (2, 3, 32)
    log_probs = model.decoder(latents.features)["cells"]  # (B, T, n, C)
    expected = F.nll_loss(log_probs.flatten(0, 2), rows["cells"].long().flatten(), reduction="none")
    torch.testing.assert_close(losses["reconstruction_cells"], expected.reshape(2, 3, 3).sum(-1))
    assert torch.equal(
        model.decoder.target("cells", rows["cells"]), F.one_hot(rows["cells"].long(), 5).float()
    )


def test_a_model_learns_which_symbols_it_saw(model):
    rows, optimizer = batch(4, 4), torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        losses, *_ = model.loss(rows, torch.rand(4, 4, 4, generator=generator))
        optimizer.zero_grad()
        sum(loss.mean() for loss in losses.values()).backward()
        optimizer.step()
    predicted = model.decoder(model.open_loop(rows, 3, generator))["cells"].argmax(-1)
    assert (predicted[:, :3] == rows["cells"][:, :3]).float().mean() > 0.9
