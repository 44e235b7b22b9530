"""Action distributions against torch.distributions."""

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, special, stats
from torch import distributions as td

from agents.distributions import (
    BoundedNormal,
    Categorical,
    from_network,
    from_parameters,
    kl,
    policy_noise,
    uniform_actions,
)


def output(width, rows=6, seed=0):
    return 2 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def actor(values, discrete):
    return from_network(values, (values.shape[-1],) if discrete else ())


def reference(values, discrete):
    """DreamerV3's actor distributions, built anew on torch's."""
    if discrete:
        return td.OneHotCategorical(probs=0.99 * values.softmax(-1) + 0.01 / values.shape[-1])
    mean, raw = values.chunk(2, -1)
    return td.Independent(td.Normal(mean.tanh(), 0.9 * torch.sigmoid(raw + 2) + 0.1), 1)


@pytest.mark.parametrize("discrete", [True, False])
class TestAgainstTorch:
    def test_log_prob_and_entropy(self, discrete):
        values = output(8)
        mine, theirs = actor(values, discrete), reference(values, discrete)
        torch.manual_seed(0)
        actions = theirs.sample((50,))
        torch.testing.assert_close(mine.log_prob(actions), theirs.log_prob(actions), rtol=1e-5, atol=1e-5)
        if discrete:  # that of a Box is of the clipped action: TestClipped
            torch.testing.assert_close(mine.entropy(), theirs.entropy(), rtol=1e-5, atol=1e-5)

    def test_gradient_of_log_prob_and_entropy(self, discrete):
        one, two = output(8).requires_grad_(), output(8).requires_grad_()
        torch.manual_seed(0)
        action = reference(two, discrete).sample()
        for p in (actor(one, discrete), reference(two, discrete)):
            (p.log_prob(action) + (0.3 * p.entropy() if discrete else 0.0)).sum().backward()
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)

    def test_kl(self, discrete):
        left, right = output(8), output(8, seed=1)
        expected = td.kl_divergence(reference(left, discrete), reference(right, discrete))
        found = kl(actor(left, discrete), actor(right, discrete))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert (found > 0.01).all()

    def test_samples(self, discrete):
        values = output(8, rows=1)
        mine, theirs = actor(values.expand(40_000, -1), discrete), reference(values, discrete)
        space = gymnasium.spaces.Discrete(8) if discrete else gymnasium.spaces.Box(-1, 1, (4,))
        samples = mine.sample(policy_noise(space, (40_000,), torch.Generator().manual_seed(0)))
        assert not samples.requires_grad
        torch.testing.assert_close(samples.mean(0), theirs.mean[0], rtol=0, atol=0.02)
        torch.testing.assert_close(samples.var(0), theirs.variance[0], rtol=0, atol=0.02)

    def test_rebuilt_from_parameters(self, discrete):
        mine = actor(output(8), discrete)
        again = from_parameters(mine.parameters(), (8,) if discrete else ())
        assert type(again) is type(mine)
        torch.testing.assert_close(again, mine, rtol=0, atol=0)


class TestFactors:
    """Two factors, of three and of two values, against torch and by hand."""

    FACTORS = (3, 2)

    def reference(self, values):
        """Torch's product of as many values each: those that the second factor lacks have probability 0."""
        probs = [0.99 * part.softmax(-1) + 0.01 / part.shape[-1] for part in values.split(self.FACTORS, -1)]
        padded = torch.stack([probs[0], F.pad(probs[1], (0, 1))], -2)
        return td.Independent(td.Categorical(probs=padded), 1)

    def one_hot(self, numbers):
        return torch.cat([F.one_hot(numbers[..., 0], 3), F.one_hot(numbers[..., 1], 2)], -1).float()

    def test_against_torch(self):
        values = output(5)
        mine, theirs = from_network(values, self.FACTORS), self.reference(values)
        torch.manual_seed(0)
        numbers = theirs.sample((50,))
        actions = self.one_hot(numbers)
        torch.testing.assert_close(mine.log_prob(actions), theirs.log_prob(numbers), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mine.entropy(), theirs.entropy(), rtol=1e-5, atol=1e-5)
        again = from_parameters(mine.parameters(), self.FACTORS)
        torch.testing.assert_close(again, mine, rtol=0, atol=0)

    def test_kl_against_torch(self):
        # factor by factor, for torch makes no number of 0 log 0 / 0
        left, right = output(5), output(5, seed=1)
        expected = sum(
            td.kl_divergence(reference(one, True), reference(two, True))
            for one, two in zip(left.split(self.FACTORS, -1), right.split(self.FACTORS, -1), strict=True)
        )
        found = kl(from_network(left, self.FACTORS), from_network(right, self.FACTORS))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_by_hand(self):
        # 1/2, 1/4, 1/4 and 3/4, 1/4, against 1/4, 1/2, 1/4 and 1/2, 1/2
        one = Categorical(torch.tensor([1 / 2, 1 / 4, 1 / 4, 3 / 4, 1 / 4]).log(), self.FACTORS)
        two = Categorical(torch.tensor([1 / 4, 1 / 2, 1 / 4, 1 / 2, 1 / 2]).log(), self.FACTORS)
        action = torch.tensor([0.0, 0, 1, 1, 0])
        assert one.log_prob(action).item() == pytest.approx(np.log(3 / 16))
        assert one.entropy().item() == pytest.approx(2.5 * np.log(2) - 0.75 * np.log(3) + np.log(2))
        expected = 0.25 * np.log(2) + 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
        assert kl(one, two).item() == pytest.approx(expected)

    def test_each_factor_has_its_own_unimix(self):
        certain = from_network(torch.tensor([80.0, 0, 0, 0, 80]), self.FACTORS)
        expected = torch.tensor([0.99 + 0.01 / 3, 0.01 / 3, 0.01 / 3, 0.005, 0.995])
        torch.testing.assert_close(certain.parameters()["logits"].exp(), expected)

    def test_samples_are_independent(self):
        values, space = output(5, rows=1), gymnasium.spaces.MultiDiscrete([3, 2])
        mine = from_network(values.expand(40_000, -1), self.FACTORS)
        samples = mine.sample(policy_noise(space, (40_000,), torch.Generator().manual_seed(0)))
        assert (samples[:, :3].sum(-1) == 1).all()
        assert (samples[:, 3:].sum(-1) == 1).all()
        probs = mine.log_probs[0].exp()
        torch.testing.assert_close(samples.mean(0), probs, rtol=0, atol=0.02)
        both = torch.einsum("na,nb->ab", samples[:, :3], samples[:, 3:]) / len(samples)
        torch.testing.assert_close(both, probs[:3, None] * probs[3:], rtol=0, atol=0.02)

    def test_uniform_actions(self):
        space = gymnasium.spaces.MultiDiscrete([3, 2])
        actions, log_probs = uniform_actions(space, 6000, torch.Generator().manual_seed(0))
        both = torch.einsum("na,nb->ab", actions[:, :3], actions[:, 3:]) / len(actions)
        torch.testing.assert_close(both, torch.full((3, 2), 1 / 6), rtol=0, atol=0.02)
        torch.testing.assert_close(log_probs, torch.full((6000,), -np.log(6.0), dtype=torch.float32))


def test_unimix_bounds_every_action():
    certain = from_network(torch.tensor([[80.0, 0.0, 0.0, 0.0]]), (4,))
    assert isinstance(certain, Categorical)
    torch.testing.assert_close(certain.log_probs.exp(), torch.tensor([[0.9925, 0.0025, 0.0025, 0.0025]]))


def test_bounds_of_the_normal():
    wild = from_network(torch.tensor([[50.0, -50.0, 90.0, -90.0]]), ())
    assert isinstance(wild, BoundedNormal)
    torch.testing.assert_close(wild.mean, torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(wild.std, torch.tensor([[1.0, 0.1]]))


def test_kl_of_two_kinds_is_refused():
    with pytest.raises(AssertionError):
        kl(actor(output(8), True), actor(output(8), False))


class TestClipped:
    MEAN, STD = np.array([0.3, -0.9, 0.95, 0.0]), np.array([0.4, 0.2, 1.0, 0.1])

    def normal(self, *indices):
        at = list(indices)
        return BoundedNormal(torch.tensor(self.MEAN[at]), torch.tensor(self.STD[at]))

    def test_ends_hold_the_mass_beyond_them(self):
        one = torch.ones(1, dtype=torch.float64)
        found = [[float(self.normal(i).log_prob_clipped(end * one)) for i in range(4)] for end in (-1, 1)]
        np.testing.assert_allclose(found[0], stats.norm.logcdf(-1, self.MEAN, self.STD))
        np.testing.assert_allclose(found[1], stats.norm.logsf(1, self.MEAN, self.STD))

    def test_inside_it_is_the_density_and_dimensions_add_up(self):
        action = np.array([0.2, -1.0, 1.0, 0.05])
        inside = stats.norm.logpdf(action, self.MEAN, self.STD)
        expected = inside[0] + stats.norm.logcdf(-1, -0.9, 0.2) + stats.norm.logsf(1, 0.95, 1.0) + inside[3]
        assert float(self.normal(0, 1, 2, 3).log_prob_clipped(torch.tensor(action))) == pytest.approx(
            expected
        )

    def test_entropy_is_that_of_the_clipped_action(self):
        def by_quadrature(mean, std):
            def density(x):
                p = stats.norm.pdf(x, mean, std)
                return -p * np.log(p)

            low, high = max(-1, mean - 30 * std), min(1, mean + 30 * std)  # beyond them log(0)
            inside, _ = integrate.quad(density, low, high, points=[np.clip(mean, low, high)], limit=200)
            ends = np.array([stats.norm.cdf(-1, mean, std), stats.norm.sf(1, mean, std)])
            return inside + special.entr(ends).sum()

        expected = [by_quadrature(mean, std) for mean, std in zip(self.MEAN, self.STD, strict=True)]
        found = [float(self.normal(i).entropy()) for i in range(4)]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert float(self.normal(0, 1, 2, 3).entropy()) == pytest.approx(sum(expected))

    def test_entropy_has_a_slope_wherever_an_actor_can_be(self):
        raw = torch.tensor([-1e3, -20.0, -5.0, -1.0, 0.0, 1.0, 5.0, 20.0, 1e3])
        output = torch.cartesian_prod(
            raw, raw
        ).requires_grad_()  # mean and deviation, up to the ends of float32
        entropy = from_network(output, ()).entropy()
        entropy.sum().backward()
        assert entropy.isfinite().all()
        assert output.grad.isfinite().all()

    def test_entropy_falls_towards_the_ends(self):
        means = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None].requires_grad_()
        entropy = BoundedNormal(means, torch.ones_like(means)).entropy()
        assert (entropy.diff() < 0).all()
        entropy.sum().backward()
        assert means.grad.isfinite().all()

    def test_ratios_of_clipped_actions_average_to_one(self):
        # E_mu[pi / mu] = 1 holds for the masses, not for densities at the clipped actions
        pi, mu = self.normal(0), BoundedNormal(torch.tensor([-0.2]).double(), torch.tensor([0.9]).double())
        actions = torch.tensor(np.random.default_rng(0).normal(-0.2, 0.9, size=(200_000, 1))).clamp(-1, 1)
        ratios = (pi.log_prob_clipped(actions) - mu.log_prob_clipped(actions)).exp()
        assert float(ratios.mean()) == pytest.approx(1.0, abs=0.01)
        densities = (pi.log_prob(actions) - mu.log_prob(actions)).exp()
        assert abs(float(densities.mean()) - 1.0) > 0.05

    def test_the_score_averages_to_zero(self):
        mean = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
        actions = torch.tensor(np.random.default_rng(1).normal(0.3, 0.9, size=(200_000, 1))).clamp(-1, 1)
        policy = BoundedNormal(mean, torch.tensor([0.9], dtype=torch.float64))
        policy.log_prob_clipped(actions).mean().backward()
        assert float(mean.grad) == pytest.approx(0.0, abs=0.01)

    def test_far_ends_stay_finite(self):
        mean = torch.tensor([-1.0], requires_grad=True)
        BoundedNormal(mean, torch.tensor([0.1])).log_prob_clipped(torch.ones(1)).backward()
        assert torch.isfinite(mean.grad).all()

    def test_one_hot_actions_are_never_clipped(self):
        policy, action = from_network(output(4), (4,)), torch.eye(4)[[0, 1, 2, 3, 0, 1]]
        assert torch.equal(policy.log_prob_clipped(action), policy.log_prob(action))
