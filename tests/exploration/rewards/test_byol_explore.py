"""BYOL-Explore against its equations, prediction by prediction."""

import numpy as np
import pytest
import torch

from exploration import BYOLExplore, BYOLExploreConfig, Sequences, Sizes
from exploration.rewards.byol_explore import direction_error
from world_model import Latent

HORIZON, TIME = 3, 7


def make(**settings):
    torch.manual_seed(0)
    config = BYOLExploreConfig(**{"horizon": HORIZON, "outputs": 3, **settings})
    module = BYOLExplore(Sizes(6, 2, 4, 2, factors=(), units=5), config)
    with torch.no_grad():  # targets differ from what is learned
        for p in module.target.parameters():
            p.add_(0.1)
    return module


def rows(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    deter = torch.randn(batch, TIME, 4, generator=generator)
    stoch = torch.rand(batch, TIME, 1, 2, generator=generator)
    actions = torch.rand(batch, TIME, 2, generator=generator) * 2 - 1
    embeddings = torch.randn(batch, TIME, 4, generator=generator)
    is_first = torch.zeros(batch, TIME, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 3] = True
    return Latent(deter, stoch), {"action": actions, "is_first": is_first}, embeddings


def slow_errors(module, latents, batch, embeddings):
    """Error of each prediction that may be made, by (sequence, from row, rows ahead), one at a time."""
    found = {}
    for b in range(len(embeddings)):
        for t in range(TIME):
            seen = torch.cat([latents.features[b, t], module.projection(embeddings[b, t])])
            state = module.belief(seen).tanh()
            for k in range(1, HORIZON + 1):
                if t + k >= TIME or batch["is_first"][b, t + k]:
                    break
                state = module.open_loop(state, batch["action"][b, t + k])
                p = module.predictor(state).detach().numpy().astype(np.float64)
                q = module.target(embeddings[b, t + k]).detach().numpy().astype(np.float64)
                found[b, t, k] = ((p / np.linalg.norm(p) - q / np.linalg.norm(q)) ** 2).sum()
    return found


def test_direction_error_by_hand():
    # orthogonal: 2; opposite: 4; the same direction: 0, whatever the lengths
    predictions = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.5, 0.0]])
    found = direction_error(predictions, torch.tensor([[0.0, 2.0], [7.0, 0.0], [9.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([2.0, 4.0, 0.0]))


def test_reward_of_a_row_sums_the_errors_of_all_predictions_of_it():
    module, (latents, batch, embeddings) = make(), rows()
    errors = slow_errors(module, latents, batch, embeddings)
    found = module.reward(latents, batch["action"], batch, embeddings).numpy()
    expected = np.zeros((2, TIME))
    for (b, t, k), error in errors.items():
        expected[b, t + k] += error
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (expected[:, 0] == 0).all()
    assert expected[1, 3] == 0  # no prediction reaches into another episode


def test_loss_of_a_row_is_the_mean_error_of_its_predictions():
    module, (latents, batch, embeddings) = make(), rows()
    errors = slow_errors(module, latents, batch, embeddings)
    found = module.loss(latents, batch, embeddings)["byol"].detach().numpy()
    for b in range(2):
        for t in range(TIME):
            mine = [error for (sequence, start, _), error in errors.items() if (sequence, start) == (b, t)]
            assert found[b, t] == pytest.approx(np.mean(mine) if mine else 0.0, rel=1e-4, abs=1e-6)
    assert found[1, 2] == 0  # its next row is another episode's


def test_the_horizon_is_cut_to_the_sequence():
    module, (latents, batch, embeddings) = make(horizon=50), rows()
    assert module.reward(latents, batch["action"], batch, embeddings).isfinite().all()
    assert len(module._errors(Sequences.of(latents, batch["action"], batch, embeddings))) == TIME - 1


def test_targets_follow_slowly_and_take_no_gradient():
    module, (latents, batch, embeddings) = make(target_decay=0.9), rows()
    slow = {name: p.clone() for name, p in module.target.named_parameters()}
    module.take_in(batch)
    fast = dict(module.projection.named_parameters())
    for name, p in module.target.named_parameters():
        torch.testing.assert_close(p, 0.9 * slow[name] + 0.1 * fast[name])
    module.loss(latents, batch, embeddings)["byol"].sum().backward()
    assert all(p.grad is None for p in module.target.parameters())
    learned = [p for p in module.parameters() if p.requires_grad]
    assert all((p.grad != 0).any() for p in learned)


def test_imagination_is_refused():
    with pytest.raises(ValueError, match="reward head"):
        make().reward(rows()[0], torch.zeros(2, TIME, 2))


def test_falls_where_it_learned():
    module, (latents, batch, _) = make(outputs=16, units=32), rows(batch=8)
    embeddings = batch["action"] @ torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    before = module.reward(latents, batch["action"], batch, embeddings).mean()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 1e-2)
    for _ in range(80):
        module.take_in(batch)
        loss = module.loss(latents, batch, embeddings)["byol"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert module.reward(latents, batch["action"], batch, embeddings).mean() < 0.2 * before
    # not because every target became the same
    directions = torch.nn.functional.normalize(module.target(embeddings).flatten(0, 1), dim=-1)
    assert directions.std(0).mean() > 0.05
