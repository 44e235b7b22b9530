"""The tree search: numbers by hand, limits, sampled actions, and that searching improves."""

import gymnasium
import numpy as np
import pytest
import torch

from agents.programs.compiler import compiled
from agents.search import Evaluation, GumbelConfig, GumbelPlanner, Step
from agents.search.gumbel import halving, improved_policy, mixed_value
from agents.search.tree import Nodes
from tests.agents.search.tables import Tables

STATES, ACTIONS, DISCOUNT = 40, 5, 0.9


class Decision(Tables):
    """A Markov decision process, with an actor and the true values of what that actor does."""

    def __init__(self, seed=0):
        super().__init__(STATES, ACTIONS, seed)
        self.discount = torch.full((STATES, ACTIONS), DISCOUNT)
        policy = self.logits.softmax(-1)
        rows = torch.arange(STATES)[:, None].expand(-1, ACTIONS)
        moves = torch.zeros(STATES, STATES).index_put((rows, self.following), policy, accumulate=True)
        self.value = torch.linalg.solve(torch.eye(STATES) - DISCOUNT * moves, (policy * self.reward).sum(-1))

    @property
    def q(self):
        """Value of each action, if the actor goes on."""
        return self.reward + DISCOUNT * self.value[self.following]


class Lock:
    """Action 1 leads from state 0 to 1, to 2, and there pays 1; action 0 ends, and pays 0.1 in state 0."""

    variables = 0

    def step(self, state, action, noise):
        on = action[:, 1]
        reward = torch.where(on > 0, 1.0 * (state == 2), 0.1 * (state == 0))
        return Step(state + 1, reward, on * (state < 2))

    def evaluate(self, state, choices):
        return Evaluation(torch.zeros(len(state), 2), torch.zeros(len(state)), None)


def planner(model, width=ACTIONS, **settings):
    return GumbelPlanner(GumbelConfig(**settings), model, gymnasium.spaces.Discrete(width))


def drawn(plan, count, seed=0):
    return plan.draw_noise(count, torch.Generator().manual_seed(seed))


def test_the_improved_policy_by_hand():
    # One action taken twice, one once, one never: prior 1/2, 1/4, 1/4.
    nodes = Nodes(
        torch.tensor([[0.5, 0.25, 0.25]]).log(),
        torch.tensor([1.0]),
        torch.tensor([[2.0, 1.0, 0.0]]),
        torch.tensor([[3.0, 0.0, 0.0]]),
    )
    # mean of the visited: (1/2 * 3 + 1/4 * 0) / (3/4) = 2; mixed: (1 + 3 * 2) / 4 = 7/4
    assert mixed_value(nodes).item() == pytest.approx(1.75)
    # completed 3, 0, 7/4, rescaled 1, 0, 7/12, times (4 + 2) * 0.5 = 3
    weights = np.array([0.5, 0.25, 0.25]) * np.exp(3 * np.array([1, 0, 7 / 12]))
    config = GumbelConfig(value_scale=0.5, visit_offset=4)
    np.testing.assert_allclose(improved_policy(nodes, config)[0], weights / weights.sum(), rtol=1e-6)


def test_halving_by_hand():
    # 4 actions, 16 simulations, 2 phases: 2 visits for 4 actions, then 4 for 2.
    assert halving(4, 16) == [0] * 4 + [1] * 4 + [2, 2, 3, 3, 4, 4, 5, 5]
    assert halving(16, 5) == [0] * 5
    assert halving(2, 5) == [0, 0, 1, 1, 2]
    assert halving(1, 3) == [0, 1, 2]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_way_is_longer_than_the_limit(depth):
    plan = planner(Tables(200, 4, seed=3), 4, simulations=30, depth=depth, considered=2)
    tree = plan.search(torch.arange(16), drawn(plan, 16), torch.zeros(16, 4))
    reached, levels = torch.arange(16), 0
    while len(reached):
        below = tree.children[reached].flatten()
        reached, levels = below[below < len(tree.guess) - 1], levels + 1
    assert levels == depth + 1  # without a limit it is 12
    assert (tree.visits[:16].sum(-1) == 30).all()


def test_more_simulations_open_a_lock():
    states = torch.zeros(200, dtype=torch.long)
    right = []
    for simulations in (2, 20):
        plan = planner(Lock(), 2, simulations=simulations, depth=0)
        right.append(plan.plan(states, drawn(plan, 200)).action[:, 1].mean().item())
    assert right[0] < 0.05  # two simulations show nothing but the lure
    assert right[1] > 0.95


def test_at_depth_one_the_policy_improves_in_every_state():
    model = Decision()
    plan = planner(model, simulations=20, depth=1, considered=5)
    states = torch.arange(STATES)
    found = plan.plan(states, drawn(plan, STATES))
    before, after = (found.prior * model.q).sum(-1), (found.weights * model.q).sum(-1)
    torch.testing.assert_close(before, model.value)
    assert (after >= before - 1e-5).all()
    assert (after > before + 0.1).float().mean() > 0.5


def test_the_search_follows_from_its_noise_alone():
    plan = planner(Decision(), simulations=30)
    states = torch.arange(STATES)
    one, two = (plan.plan(states, drawn(plan, STATES, seed=1)) for _ in range(2))
    other = plan.plan(states, drawn(plan, STATES, seed=2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.action, other.action)


def test_states_side_by_side_do_not_meet():
    plan = planner(Decision(), simulations=30)
    noise = drawn(plan, STATES)
    together = plan.plan(torch.arange(STATES), noise)
    for i in (0, 7):
        own = noise._replace(
            root=noise.root[i : i + 1],
            chances=noise.chances[:, i : i + 1],
            choices=noise.choices[:, i : i + 1],
        )
        alone = plan.plan(torch.tensor([i]), own)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[i])


def test_batched_over_seeds_it_is_the_same():
    class Rows:
        """A state is a row of numbers, which are logits too."""

        variables = 0

        def step(self, state, action, noise):
            return Step(state + action, state[:, 0], torch.full_like(state[:, 0], 0.9))

        def evaluate(self, state, choices):
            return Evaluation(state, state.mean(-1), None)

    plan = planner(Rows(), 4, simulations=12, considered=2, depth=3)
    states = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0))
    noises = [drawn(plan, 8, seed) for seed in range(3)]
    stacked = type(noises[0])(*map(torch.stack, zip(*noises, strict=True)))
    together = torch.func.vmap(plan.plan)(states, stacked)
    for seed, noise in enumerate(noises):
        for a, b in zip(plan.plan(states[seed], noise), together, strict=True):
            torch.testing.assert_close(a, b[seed])


def test_greedy_takes_the_likeliest_where_values_are_equal():
    model = Decision()
    model.reward.zero_()
    model.value = torch.zeros(STATES)
    plan = planner(model, simulations=4)
    found = plan.plan(torch.arange(STATES), drawn(plan, STATES), greedy=True)
    torch.testing.assert_close(found.action.argmax(-1), model.logits.argmax(-1))
    torch.testing.assert_close(found.weights, model.logits.softmax(-1))


class Line:
    """A number; actions in [-1, 1] are earned as they are, and the policy is normal around 0."""

    variables = 0

    def step(self, state, action, noise):
        return Step(state + action[:, 0], action[:, 0], torch.full_like(state, 0.5))

    def evaluate(self, state, choices):
        candidates = (0.5 * choices).clamp(-1, 1)
        return Evaluation(torch.zeros_like(candidates[..., 0]), torch.zeros_like(state), candidates)


def sampled(**settings):
    return GumbelPlanner(GumbelConfig(**settings), Line(), gymnasium.spaces.Box(-1, 1, (1,)))


def test_sampled_actions_by_hand():
    plan = sampled(simulations=3, sampled_actions=3, visit_offset=9, value_scale=0.1)
    noise = drawn(plan, 1)
    choices = noise.choices.clone()
    choices[0] = torch.tensor([-0.8, 0.4, 1.2])[:, None]  # candidates -0.4, 0.2, 0.6, each tried once
    found = plan.plan(torch.zeros(1), noise._replace(choices=choices, root=torch.zeros(1, 3)))
    torch.testing.assert_close(found.candidates[0, :, 0], torch.tensor([-0.4, 0.2, 0.6]))
    torch.testing.assert_close(found.prior, torch.full((1, 3), 1 / 3))
    # rescaled 0, 0.6, 1, times (9 + 1) * 0.1 = 1
    weights = np.exp([0, 0.6, 1.0]) / np.exp([0, 0.6, 1.0]).sum()
    np.testing.assert_allclose(found.weights[0], weights, rtol=1e-5)
    assert found.action.item() == pytest.approx(0.6)
    # the guess 0 and three returns
    assert found.value.item() == pytest.approx((0 - 0.4 + 0.2 + 0.6) / 4)


def test_each_node_has_samples_of_its_own():
    plan = sampled(simulations=12, sampled_actions=4, depth=0)
    tree = plan.search(torch.zeros(3), drawn(plan, 3), torch.zeros(3, 4))
    assert tree.candidates[:-1].flatten(1).unique(dim=0).shape == (39, 4)
    # every state is the sum of the actions on the way to it
    for node in range(3, 39):
        parent, index = (tree.children == node).nonzero()[0]
        step = tree.state[node] - tree.state[parent]
        torch.testing.assert_close(step, tree.candidates[parent, index, 0])


@pytest.mark.usefixtures("compiles")
def test_compiled_it_is_the_same():
    plan = planner(Decision(), simulations=8, considered=4, depth=2)
    noise, states = drawn(plan, STATES), torch.arange(STATES)
    plainly = plan.plan(states, noise)
    plan.simulate = compiled(plan.simulate)
    for a, b in zip(plainly, plan.plan(states, noise), strict=True):
        torch.testing.assert_close(a, b)
