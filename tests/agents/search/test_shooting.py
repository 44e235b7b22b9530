"""Shooting on problems whose best action is known."""

import gymnasium
import numpy as np
import pytest
import torch

from agents.search import Evaluation, MPPIConfig, ShootingPlanner, Step

BOX = gymnasium.spaces.Box(-1, 1, (1,))
WEIGHT = 0.5


class Regulator:
    """A number x that an action u moves to x + u, at a cost of x^2 + u^2 / 2; the policy knows nothing.

    The value where a plan ends is -(x^2 + p x^2) with p from Riccati's equation, so any horizon has one best
    plan, that of the endless problem.
    """

    variables = 0
    p = (np.sqrt(1 + 4 * WEIGHT) - 1) / 2  # from p = WEIGHT (1 + p) / (1 + p + WEIGHT)

    def step(self, state, action, noise):
        following = state + action[:, 0]
        return Step(following, -following.square() - WEIGHT * action[:, 0].square(), torch.ones_like(state))

    def evaluate(self, state, choices):
        candidates = choices.clamp(-1, 1)
        return Evaluation(torch.zeros_like(candidates[..., 0]), -self.p * state.square(), candidates)


class Expert(Regulator):
    """The same with a policy that is exact, and knows that nothing else will do."""

    def evaluate(self, state, choices):
        found = super().evaluate(state, choices)
        gain = (1 + self.p) / (1 + self.p + WEIGHT)
        return found._replace(candidates=(-gain * state)[:, None, None].expand_as(choices))


def planned(model, states, greedy=True, seed=0, **settings):
    planner = ShootingPlanner(MPPIConfig(**settings), model, BOX)
    return planner.plan(states, planner.draw_noise(len(states), torch.Generator().manual_seed(seed)), greedy)


STATES = torch.tensor([-0.9, -0.2, 0.0, 0.5, 0.8])
GAIN = (1 + Regulator.p) / (1 + Regulator.p + WEIGHT)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_regulators_best_action_is_found(horizon):
    plan = planned(Regulator(), STATES, horizon=horizon, iterations=8, elites=32, temperature=20.0)
    np.testing.assert_allclose(plan.action[:, 0], -GAIN * STATES, atol=0.04)
    np.testing.assert_allclose(plan.value, -Regulator.p * STATES**2, atol=0.02)


def test_the_policys_own_candidates_take_part():
    plan = planned(Expert(), STATES, samples=2, elites=2, policy_samples=3, temperature=1e6, greedy=False)
    torch.testing.assert_close(plan.action[:, 0], -GAIN * STATES)
    torch.testing.assert_close(plan.value, -Regulator.p * STATES.square())


def test_elites_weigh_by_the_softmax_of_their_returns():
    plan = planned(Regulator(), STATES, horizon=1, iterations=1, samples=40, elites=8, temperature=2.0)
    first = plan.candidates[..., 0]  # (N, elites)
    ends = STATES[:, None] + first
    returns = -ends.square() - WEIGHT * first.square() - Regulator.p * ends.square()
    weights = (2.0 * returns).softmax(-1)
    torch.testing.assert_close(plan.weights, weights)
    torch.testing.assert_close(plan.action, (weights[..., None] * plan.candidates).sum(1))
    torch.testing.assert_close(plan.value, (weights * returns).sum(-1))
    torch.testing.assert_close(plan.prior, torch.full_like(weights, 1 / 8))


def test_while_exploring_an_elite_is_taken_and_greedily_the_mean():
    eager = planned(Regulator(), STATES, greedy=False)
    taken = (eager.candidates == eager.action[:, None]).all(-1)
    assert taken.any(1).all()
    assert not torch.equal(eager.action, planned(Regulator(), STATES).action)
    other = planned(Regulator(), STATES, greedy=False, seed=1)
    assert torch.equal(eager.action, planned(Regulator(), STATES, greedy=False).action)
    assert not torch.equal(eager.action, other.action)


def test_an_end_hides_what_comes_after():
    class Cliff(Regulator):
        """Positive actions earn 1 and end everything; others earn 0.9 and go on."""

        def step(self, state, action, noise):
            ends = action[:, 0] > 0
            return Step(state, torch.where(ends, 1.0, 0.9), (~ends).float())

        def evaluate(self, state, choices):
            return super().evaluate(state, choices)._replace(value=torch.zeros_like(state))

    short, long = (planned(Cliff(), STATES, horizon=h, greedy=False) for h in (1, 3))
    assert (short.action > 0).all()
    assert (long.action <= 0).all()
    np.testing.assert_allclose(short.value, 1.0)
    np.testing.assert_allclose(long.value, 2.8, atol=0.05)


def test_deviations_stay_in_their_bounds():
    def spread(std):
        plan = planned(
            Regulator(), STATES, iterations=20, elites=16, policy_samples=1, min_std=std, max_std=std
        )
        return plan.candidates[..., 0].std(1).mean()

    assert spread(0.01) < 0.01  # elites lie closer than all
    assert 0.01 < spread(0.3) < 0.3
    assert planned(Regulator(), STATES).candidates.abs().max() <= 1
