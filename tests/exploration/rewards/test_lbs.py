"""Latent Bayesian surprise against torch's distributions and sampling."""

import pytest
import torch
from torch.distributions import Independent, kl_divergence
from torch.distributions import Normal as TorchNormal

from exploration import LBS, LBSConfig, Sequences, Sizes
from exploration.rewards.lbs import Normal, normal_kl
from world_model import Latent


def make(beta=1.0):
    torch.manual_seed(0)
    return LBS(Sizes(6, 2, 4, 2, factors=(), units=8), LBSConfig(variables=3, beta=beta))


def rows(batch=2, time=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    deter = torch.randn(batch, time, 4, generator=generator)
    stoch = torch.rand(batch, time, 1, 2, generator=generator)
    actions = torch.rand(batch, time, 2, generator=generator) * 2 - 1
    embeddings = torch.randn(batch, time, 4, generator=generator)
    is_first = torch.zeros(batch, time, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 2] = True
    return Latent(deter, stoch), {"action": actions, "is_first": is_first}, embeddings


def as_torch(belief):
    return Independent(TorchNormal(belief.mean, belief.std), 1)


def test_kl_by_hand_and_against_torch():
    one = Normal(torch.tensor([1.0]), torch.tensor([1.0]))
    two = Normal(torch.tensor([0.0]), torch.tensor([2.0]))
    # ln 2 + (1 + 1) / 8 - 1 / 2
    assert normal_kl(one, two).item() == pytest.approx(0.6931472 + 0.25 - 0.5, abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    left, right = (
        Normal(torch.randn(5, 3, generator=generator), torch.rand(5, 3, generator=generator) + 0.1)
        for _ in range(2)
    )
    torch.testing.assert_close(normal_kl(left, right), kl_divergence(as_torch(left), as_torch(right)))


def test_reward_is_the_kl_of_posterior_and_prior():
    module, (latents, batch, embeddings) = make(), rows()
    found = module.reward(latents, batch["action"], batch, embeddings)
    assert (found[:, 0] == 0).all()
    for b in range(2):
        for t in range(1, 4):
            before = torch.cat([latents.features[b, t - 1], batch["action"][b, t]])
            beliefs = []
            for network, x in (
                (module.prior, before),
                (module.posterior, torch.cat([before, embeddings[b, t]])),
            ):
                mean, raw = network(x).chunk(2)
                beliefs.append(Independent(TorchNormal(mean, raw.exp().log1p() + 0.1), 1))
            expected = kl_divergence(beliefs[1], beliefs[0])
            assert found[b, t].item() == pytest.approx(expected.item(), rel=1e-4)


def test_expected_error_is_that_of_samples():
    module, (latents, batch, embeddings) = make(), rows()
    found = module.loss(latents, batch, embeddings)["lbs_error"].detach()
    posterior, _ = module._beliefs(Sequences.of(latents, batch["action"], batch, embeddings))
    torch.manual_seed(0)
    samples = as_torch(posterior).sample((20000,))  # (20000, B, T - 1, 3)
    errors = 0.5 * (embeddings[:, 1:] - module.decoder(samples)).square().sum(-1).mean(0)
    known = ~batch["is_first"][:, 1:]
    torch.testing.assert_close(found[:, 1:], (errors * known).detach(), rtol=0.03, atol=1e-3)
    assert (found[:, 0] == 0).all()


def test_beta_weighs_the_kl_and_first_rows_teach_nothing():
    latents, batch, embeddings = rows()
    module = make(beta=0.5)
    kl = module.loss(latents, batch, embeddings)["lbs_kl"].detach()
    reward = module.reward(latents, batch["action"], batch, embeddings)
    torch.testing.assert_close(kl, 0.5 * reward * ~batch["is_first"])
    assert kl[1, 2] == 0
    assert reward[1, 2] > 0


def test_surprise_is_what_the_past_does_not_tell():
    # an embedding that the action decides surprises less than one that a hidden coin decides
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = LBS(Sizes(2, 1, 2, 1, factors=(), units=16), LBSConfig(variables=2))
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    latents = Latent(torch.zeros(64, 2, 1), torch.zeros(64, 2, 1, 1))
    for _ in range(300):
        action = torch.randint(2, (64, 2, 1), generator=generator) * 2.0 - 1
        coin = torch.randint(2, (64, 2, 1), generator=generator) * 2.0 - 1
        told = torch.arange(64)[:, None, None] < 32
        batch = {"action": torch.where(told, action, 0.0), "is_first": torch.zeros(64, 2, dtype=torch.bool)}
        embeddings = 3 * torch.where(told, action, coin) * torch.ones(2)
        loss = sum(loss.mean() for loss in module.loss(latents, batch, embeddings).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    surprise = module.reward(latents, batch["action"], batch, embeddings)[:, 1]
    assert surprise[:32].mean() < 0.1
    assert surprise[32:].mean() > 0.5  # a coin holds 0.69 nats


def test_imagination_is_refused():
    with pytest.raises(ValueError, match="reward head"):
        make().reward(rows()[0], torch.zeros(2, 4, 2))
