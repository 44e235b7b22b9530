"""Lambda-returns and V-trace worked by hand and by their definitions; percentile scale against numpy."""

import numpy as np
import pytest
import torch

from agents.learning.returns import PercentileScale, lambda_returns, vtrace


def naive(rewards, values, continues, is_last, lam):
    """R_t of one sequence by its recursive definition; a cut-off row bootstraps from its value alone."""

    def onward(t):
        """What is expected from row t on, once its reward is paid."""
        if t == len(rewards) - 1 or is_last[t]:
            return values[t]
        return (1 - lam) * values[t] + lam * (rewards[t + 1] + continues[t + 1] * onward(t + 1))

    return [rewards[t + 1] + continues[t + 1] * onward(t + 1) for t in range(len(rewards) - 1)]


def run(rewards, values, continues, is_last, lam):
    tensors = [torch.tensor([x], dtype=torch.float64) for x in (rewards, values, continues)]
    return lambda_returns(*tensors, torch.tensor([is_last]), lam)[0].tolist()


class TestLambdaReturns:
    def test_by_hand(self):
        # from the end: R1 = 3 + .5 * 30 = 18; R0 = 2 + .5 * (.2 * 20 + .8 * 18) = 11.2
        found = run([1, 2, 3], [10, 20, 30], [0.5] * 3, [False] * 3, 0.8)
        assert found == pytest.approx([11.2, 18.0])

    def test_terminal_row_by_hand(self):
        # row 1 is terminal: nothing follows its reward; row 2 opens the next episode with reward 0
        found = run([0, 2, 0, 5], [10, 20, 40, 60], [0.5, 0.0, 0.5, 0.5], [False, True, False, False], 0.8)
        # R2 = 5 + .5 * 60; R1 (from the terminal row into the next episode) is masked by who uses it
        assert found[0] == 2.0
        assert found[2] == 35.0

    def test_cut_off_row_by_hand(self):
        # row 1 is cut off: R0 = 2 + .5 * v_1 whatever lambda is, and nothing of the next episode
        for lam in (0.0, 0.8, 1.0):
            found = run([0, 2, 0, 500], [10, 20, 999, 60], [0.5] * 4, [False, True, False, False], lam)
            assert found[0] == 12.0

    def test_lambda_zero_and_one(self):
        rewards, values, c = [0.0, 1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0], 0.9
        one_step = [rewards[t + 1] + c * values[t + 1] for t in range(3)]
        assert run(rewards, values, [c] * 4, [False] * 4, 0.0) == pytest.approx(one_step)
        full = [1 + c * 2 + c**2 * 3 + c**3 * 8, 2 + c * 3 + c**2 * 8, 3 + c * 8]
        assert run(rewards, values, [c] * 4, [False] * 4, 1.0) == pytest.approx(full)

    def test_against_the_recursive_definition(self):
        rng = np.random.default_rng(0)
        rewards, values = rng.normal(size=(2, 40, 17))
        is_last = rng.random((40, 17)) < 0.2
        terminal = is_last & (rng.random((40, 17)) < 0.5)
        continues = 0.99 * ~terminal
        found = lambda_returns(
            *(torch.tensor(x) for x in (rewards, values, continues, is_last)), 0.95
        ).numpy()
        expected = [naive(*row, 0.95) for row in zip(rewards, values, continues, is_last, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def summed(rewards, values, continues, ratios, lam, rho_bar, c_bar):
    """V-trace targets of one sequence as the sum of eq. 1, with each step's own discount."""
    rho, c = np.minimum(rho_bar, ratios), lam * np.minimum(c_bar, ratios)
    targets = []
    for s in range(len(ratios)):
        total, weight = values[s], 1.0
        for t in range(s, len(ratios)):
            total += weight * rho[t] * (rewards[t + 1] + continues[t + 1] * values[t + 1] - values[t])
            weight *= continues[t + 1] * c[t]
        targets.append(total)
    return targets


def traced(rewards, values, continues, ratios, *settings):
    tensors = [torch.tensor([x], dtype=torch.float64) for x in (rewards, values, continues, ratios)]
    targets, advantages = vtrace(*tensors, *settings)
    return targets[0].tolist(), advantages[0].tolist()


class TestVTrace:
    # rho = c = (1, .5), so from the end: v1 = 20 + .5 * (2 + .5 * 30 - 20) = 18.5;
    # v0 = 10 + (1 + .5 * 20 - 10) + .5 * (18.5 - 20) = 10.25
    SEQUENCE = ([1000, 1, 2], [10, 20, 30], [0.5] * 3, [2.0, 0.5])

    def test_by_hand(self):
        targets, advantages = traced(*self.SEQUENCE)
        assert targets == pytest.approx([10.25, 18.5])
        # 1 * (1 + .5 * 18.5 - 10) and .5 * (2 + .5 * 30 - 20)
        assert advantages == pytest.approx([0.25, -1.5])

    def test_lambda_shortens_the_trace_by_hand(self):
        # v0 = 10 + 1 + .5 * .8 * (-1.5)
        assert traced(*self.SEQUENCE, 0.8)[0] == pytest.approx([10.4, 18.5])

    def test_the_two_caps_by_hand(self):
        # rho = (1.5, .5): v0 = 10 + 1.5 * 1 + .5 * (-1.5), and the advantage is 1.5 * .25
        targets, advantages = traced(*self.SEQUENCE, 1.0, 1.5, 1.0)
        assert targets == pytest.approx([10.75, 18.5])
        assert advantages == pytest.approx([0.375, -1.5])
        # c = (2, .5): v0 = 10 + 1 + .5 * 2 * (-1.5)
        assert traced(*self.SEQUENCE, 1.0, 1.0, 9.0)[0] == pytest.approx([9.5, 18.5])

    def test_nothing_crosses_a_row_without_a_known_action(self):
        # row 1 is the last of its episode: its own target is its value, and row 0 bootstraps from that
        targets, advantages = traced([0, 2, 0, 500], [10, 20, 999, 60], [0.5] * 4, [1.0, 0.0, 1.0])
        assert targets[:2] == pytest.approx([2 + 0.5 * 20, 20])
        assert advantages[:2] == pytest.approx([2.0, 0.0])
        # and a terminal one has no value to bootstrap from
        ended = traced([0, 2, 0, 500], [10, 20, 999, 60], [0.5, 0.0, 0.5, 0.5], [1.0, 0.0, 1.0])
        assert (ended[0][0], ended[1][0]) == (2.0, -8.0)

    @pytest.mark.parametrize("settings", [(1.0, 1.0, 1.0), (0.9, 1.2, 0.7), (0.0, 2.0, 1.0)])
    def test_against_the_sum_of_the_paper(self, settings):
        rng = np.random.default_rng(0)
        rewards, values = rng.normal(size=(2, 20, 13))
        continues, ratios = 0.9 * (rng.random((20, 13)) < 0.8), rng.gamma(1.0, size=(20, 12))
        found, _ = vtrace(*(torch.tensor(x) for x in (rewards, values, continues, ratios)), *settings)
        for n in range(20):
            expected = summed(rewards[n], values[n], continues[n], ratios[n], *settings)
            assert found[n].tolist() == pytest.approx(expected)

    def test_on_policy_it_is_the_lambda_return(self):
        rng = np.random.default_rng(1)
        rewards, values = (torch.tensor(x) for x in rng.normal(size=(2, 40, 17)))
        is_last = torch.tensor(rng.random((40, 17)) < 0.2)
        continues = 0.99 * ~(is_last & torch.tensor(rng.random((40, 17)) < 0.5))
        acted = ~is_last[:, :-1]
        found, _ = vtrace(rewards, values, continues, acted.double(), 0.95)
        expected = lambda_returns(rewards, values, continues, is_last, 0.95)
        torch.testing.assert_close(found[acted], expected[acted])


class TestPercentileScale:
    def test_against_numpy(self):
        rng = np.random.default_rng(0)
        scale, low, high = PercentileScale(limit=0.01), 0.0, 0.0
        for step in range(1, 30):
            returns = rng.normal(step, 3 + step, size=(13, 7)).astype(np.float32)
            scale.update(torch.tensor(returns))
            low = 0.99 * low + 0.01 * np.percentile(returns, 5)
            high = 0.99 * high + 0.01 * np.percentile(returns, 95)
            expected = (high - low) / (1 - 0.99**step)
            assert scale.scale().item() == pytest.approx(expected, rel=1e-4)

    def test_first_batch_counts_in_full(self):
        scale = PercentileScale()
        scale.update(torch.linspace(0, 100, 101))
        assert scale.scale().item() == pytest.approx(90.0, rel=1e-5)

    def test_limit(self):
        scale = PercentileScale(limit=1.0)
        assert scale.scale() == 1
        scale.update(torch.linspace(0, 0.5, 11))
        assert scale.scale() == 1

    def test_single_return(self):
        scale = PercentileScale(limit=0.5)
        scale.update(torch.tensor([3.0]))
        assert scale.scale() == 0.5

    def test_state_round_trip(self):
        one, two = PercentileScale(), PercentileScale()
        for k in range(3):
            one.update(torch.arange(50.0) * (k + 1))
        two.load_state_dict(one.state_dict())
        two.update(torch.arange(9.0))
        one.update(torch.arange(9.0))
        assert one.scale() == two.scale()
