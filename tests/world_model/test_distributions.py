"""The small formulas against numpy, scipy and torch.distributions."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Categorical, Independent, kl_divergence

from world_model import distributions as ours

CPU = torch.device("cpu")


def numpy_bins(count=255):
    grid = np.linspace(-20, 20, count)
    return np.sign(grid) * np.expm1(np.abs(grid))


def dense_twohot(value, bins):
    """The two-hot code written out bin by bin."""
    code = np.zeros(len(bins))
    value = min(max(value, bins[0]), bins[-1])
    for k in range(len(bins) - 1):
        if bins[k] <= value <= bins[k + 1]:
            upper = (value - bins[k]) / (bins[k + 1] - bins[k])
            code[k], code[k + 1] = 1 - upper, upper
            return code
    raise AssertionError("no bin")


class TestSymlog:
    def test_against_numpy(self):
        x = np.array([-1e6, -3.0, -1e-4, 0.0, 0.5, 2.0, 1e5])
        expected = np.sign(x) * np.log(np.abs(x) + 1)
        np.testing.assert_allclose(ours.symlog(torch.tensor(x)).numpy(), expected, rtol=1e-12)

    def test_symexp_inverts_symlog(self):
        x = torch.tensor([-1e4, -2.0, -1e-3, 0.0, 1e-3, 7.0, 1e4], dtype=torch.float64)
        torch.testing.assert_close(ours.symexp(ours.symlog(x)), x, rtol=1e-12, atol=0)

    def test_symexp_against_numpy(self):
        y = np.linspace(-10, 10, 41)
        expected = np.sign(y) * (np.exp(np.abs(y)) - 1)
        np.testing.assert_allclose(ours.symexp(torch.tensor(y)).numpy(), expected, rtol=1e-12)


class TestTwohot:
    def test_bins(self):
        bins = ours.twohot_bins(CPU).double().numpy()
        np.testing.assert_allclose(bins, numpy_bins(), rtol=1e-5)
        assert bins[127] == 0
        assert (bins == -bins[::-1]).all()
        assert (np.diff(bins) > 0).all()

    @pytest.mark.parametrize("value", [0.0, 1e-3, 0.7, -0.7, 1.0, -250.0, 3e5, 4e8, -4e8, 1e12, -1e12])
    def test_loss_against_dense_target(self, value):
        logits = torch.randn(255, generator=torch.Generator().manual_seed(0))
        bins = ours.twohot_bins(CPU).double().numpy()
        log_probs = scipy.special.log_softmax(logits.double().numpy())
        expected = -(dense_twohot(float(np.float32(value)), bins) * log_probs).sum()
        found = ours.twohot_loss(logits, torch.tensor(value))
        np.testing.assert_allclose(found.item(), expected, rtol=2e-6)

    def test_loss_at_every_bin_is_that_bins_surprise(self):
        logits = torch.randn(255, generator=torch.Generator().manual_seed(1))
        found = ours.twohot_loss(logits.expand(255, 255), ours.twohot_bins(CPU))
        torch.testing.assert_close(found, -logits.log_softmax(-1))

    def test_gradient_is_that_of_dense_cross_entropy(self):
        logits = torch.randn(6, 255, generator=torch.Generator().manual_seed(2), requires_grad=True)
        target = torch.tensor([0.0, 0.3, -5.0, 1e4, 1e10, -1e10])
        ours.twohot_loss(logits, target).sum().backward()
        bins = ours.twohot_bins(CPU).double().numpy()
        dense = np.stack([dense_twohot(float(x), bins) for x in target.numpy()])
        expected = logits.detach().softmax(-1).numpy() - dense
        np.testing.assert_allclose(logits.grad.numpy(), expected, atol=1e-6)

    def test_no_gradient_reaches_the_target(self):
        target = torch.tensor([0.5], requires_grad=True)
        loss = ours.twohot_loss(torch.zeros(1, 255, requires_grad=True), target)
        loss.sum().backward()
        assert target.grad is None

    def test_uniform_logits_mean_exactly_zero(self):
        for level in (0.0, 0.1, -3.7, 50.0):
            assert ours.twohot_mean(torch.full((4, 255), level)).tolist() == [0.0] * 4

    def test_mean_against_numpy(self):
        logits = 3 * torch.randn(16, 255, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        logits[:, :100] -= 40
        logits[:, 155:] -= 40  # keep the outermost bins from swamping the comparison
        probs = scipy.special.softmax(logits.numpy(), -1)
        expected = (probs * ours.twohot_bins(CPU).double().numpy()).sum(-1)
        np.testing.assert_allclose(ours.twohot_mean(logits).numpy(), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("value", [0.0, 0.25, -1.5, 42.0, -9e3])
    def test_mean_of_the_code_is_the_value(self, value):
        code = dense_twohot(value, ours.twohot_bins(CPU).double().numpy())
        logits = torch.tensor(np.log(np.maximum(code, 1e-300)))
        assert ours.twohot_mean(logits).item() == pytest.approx(value, rel=1e-5, abs=1e-9)

    @pytest.mark.parametrize("spread", [1e-8, 1e-6, 1e-3, 0.03, 1.0, 30.0])
    def test_mean_keeps_small_differences_of_logits(self, spread):
        generator = torch.Generator().manual_seed(0)
        logits = spread * torch.randn(50, 255, generator=generator)
        probs = scipy.special.softmax(logits.double().numpy(), -1)
        bins = ours.twohot_bins(CPU).double().numpy()
        sizes = np.abs((probs - probs[:, ::-1]) * bins).sum(-1)  # what rounding is relative to
        error = np.abs(ours.twohot_mean(logits).numpy() - ((probs - probs[:, ::-1]) * bins).sum(-1) / 2)
        # differences that the series leaves out lose five digits in fp32
        assert (error < (1e-6 if spread < 0.01 else 1e-5) * sizes).all()


class TestUnimix:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
    def test_against_numpy(self, share):
        logits = 8 * torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = (1 - share) * scipy.special.softmax(logits.numpy(), -1) + share / 7
        np.testing.assert_allclose(ours.unimix_log_probs(logits, share).exp().numpy(), expected, rtol=1e-12)

    def test_floor(self):
        probs = ours.unimix_log_probs(torch.tensor([100.0, 0.0, 0.0, 0.0]), 0.01).exp()
        torch.testing.assert_close(probs, torch.tensor([0.9925, 0.0025, 0.0025, 0.0025]))


class TestSampling:
    def test_frequencies(self):
        probs = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.01, 0.01, 0.01, 0.97]])
        draws = 200_000
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(draws, 2, generator=generator)
        samples = ours.sample_one_hot(probs.expand(draws, 2, 4), noise)
        assert set(samples.unique().tolist()) == {0.0, 1.0}
        assert (samples.sum(-1) == 1).all()
        for row in range(2):
            counts = samples[:, row].sum(0).numpy()
            # p below 1e-4 for this seed would mean a biased sampler
            expected = probs[row].double().numpy()
            expected *= draws / expected.sum()
            assert scipy.stats.chisquare(counts, expected).pvalue > 1e-4

    def test_by_hand(self):
        probs = torch.tensor([0.5, 0.0, 0.25, 0.25])
        for noise, expected in [(0.0, 0), (0.49, 0), (0.5, 2), (0.74, 2), (0.75, 3), (1 - 2**-24, 3)]:
            assert ours.sample_one_hot(probs, torch.tensor(noise)).tolist() == np.eye(4)[expected].tolist()

    def test_rounding_cannot_leave_a_state_without_a_class(self):
        probs = torch.full((3,), 1 / 3) - 1e-6  # they sum to less than the noise
        assert ours.sample_one_hot(probs, torch.tensor(1 - 2**-24)).tolist() == [0, 0, 1]

    def test_sample_has_no_gradient(self):
        logits = torch.zeros(3, requires_grad=True)
        assert not ours.sample_one_hot(logits.softmax(-1), torch.zeros(())).requires_grad


class TestStraightThrough:
    def test_forward_is_one_hot_and_gradient_that_of_probabilities(self):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(4, 3, 5, generator=generator, requires_grad=True)
        weights = torch.randn(4, 3, 5, generator=generator)
        noise = torch.rand(4, 3, generator=generator)
        log_probs = ours.unimix_log_probs(logits, 0.01)
        sample = ours.straight_through(log_probs, noise)
        torch.testing.assert_close(sample, ours.sample_one_hot(log_probs.exp(), noise), atol=1e-7, rtol=0)
        (found,) = torch.autograd.grad((sample * weights).sum(), logits)
        probs = 0.99 * logits.softmax(-1) + 0.01 / 5
        (expected,) = torch.autograd.grad((probs * weights).sum(), logits)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
        assert expected.abs().max() > 1e-2


class TestKL:
    def logits(self):
        generator = torch.Generator().manual_seed(0)
        return tuple(
            (2 * torch.randn(6, 4, 5, generator=generator, dtype=torch.float64)).requires_grad_()
            for _ in range(2)
        )

    def test_against_torch(self):
        left, right = (x.detach().log_softmax(-1) for x in self.logits())
        expected = kl_divergence(
            Independent(Categorical(logits=left), 1), Independent(Categorical(logits=right), 1)
        )
        torch.testing.assert_close(ours.categorical_kl(left, right), expected)
        assert (ours.categorical_kl(left, left) == 0).all()

    @pytest.mark.parametrize("free", [0.0, 1.0, 5.0])
    def test_free_nats(self, free):
        left, right = (x.detach().log_softmax(-1) for x in self.logits())
        expected = kl_divergence(
            Independent(Categorical(logits=left), 1), Independent(Categorical(logits=right), 1)
        ).clamp(min=free)
        for loss in ours.balanced_kl(left, right, free):
            torch.testing.assert_close(loss, expected)

    def test_free_nats_apply_to_the_sum_over_variables(self):
        # 4 variables of 0.5 nats each: above one free nat together, below it one by one.
        p = scipy.optimize.brentq(
            lambda q: math.log(2) - scipy.stats.bernoulli.entropy(q) - 0.5, 0.5, 1 - 1e-9
        )
        posterior = torch.tensor([p, 1 - p]).log().expand(4, 2)
        prior = torch.tensor([0.5, 0.5]).log().expand(4, 2)
        dynamics, _ = ours.balanced_kl(posterior, prior, 1.0)
        assert dynamics.item() == pytest.approx(2.0, rel=1e-5)

    def test_gradients_go_only_where_they_should(self):
        posterior, prior = self.logits()
        dynamics, _ = ours.balanced_kl(posterior.log_softmax(-1), prior.log_softmax(-1), 0.0)
        to_posterior, to_prior = torch.autograd.grad(dynamics.sum(), (posterior, prior), allow_unused=True)
        assert to_posterior is None
        # of KL(p || q) by the logits of q: q - p
        torch.testing.assert_close(to_prior, (prior.softmax(-1) - posterior.softmax(-1)).detach())
        _, representation = ours.balanced_kl(posterior.log_softmax(-1), prior.log_softmax(-1), 0.0)
        to_posterior, to_prior = torch.autograd.grad(
            representation.sum(), (posterior, prior), allow_unused=True
        )
        assert to_prior is None
        p, ratio = posterior.softmax(-1), posterior.log_softmax(-1) - prior.log_softmax(-1)
        # of KL(p || q) by the logits of p: p (log p/q - KL)
        expected = p * (ratio - (p * ratio).sum(-1, keepdim=True))
        torch.testing.assert_close(to_posterior, expected.detach())

    def test_below_the_free_nats_nothing_moves(self):
        posterior, prior = self.logits()
        losses = ours.balanced_kl(posterior.log_softmax(-1), prior.log_softmax(-1), 100.0)
        for gradient in torch.autograd.grad(sum(x.sum() for x in losses), (posterior, prior)):
            assert (gradient == 0).all()


def test_flatten_stoch_keeps_classes_together():
    stoch = torch.arange(24).reshape(2, 3, 4)
    assert ours.flatten_stoch(stoch)[1].tolist() == list(range(12, 24))
