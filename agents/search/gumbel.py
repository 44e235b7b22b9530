"""Gumbel MuZero search (Danihelka et al. 2022, 'Policy improvement by planning with Gumbel').

Equations are numbered as there. Continuous actions and those of several factors are sampled in every node
(Hubert et al. 2021, 'Learning and planning in complex action spaces', arXiv 2104.06303).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import gymnasium
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from agents.distributions import policy_noise
from agents.search.config import GumbelConfig
from agents.search.model import Evaluation, SearchModel, State, Step
from agents.search.plan import Plan, gumbel_noise
from agents.search.tree import Nodes, Tree, back_up, choose, descend, ends, grow, plant, spread
from world_model import action_factors, action_width

SMALLEST = 1e-8
"""Ranges of values below this are not stretched to 1."""


class GumbelNoise(NamedTuple):
    """What a search from N states samples with."""

    root: Tensor
    """Standard Gumbel noise of the actions at the root, (N, K)."""
    chances: Tensor
    """Of the model's steps: uniform, (simulations, N, S)."""
    choices: Tensor
    """Of the actions sampled in each node: (simulations + 1, N, K, ...), see `policy_noise`; empty where all
    are tried."""


def mixed_value(nodes: Nodes) -> Tensor:
    """Value (...) of nodes from their guess and the values of the actions that were taken (appendix D)."""
    visited = nodes.visits > 0
    prior = nodes.logits.softmax(-1).clamp_min(torch.finfo(nodes.logits.dtype).tiny) * visited
    mean = (prior * nodes.q).sum(-1) / prior.sum(-1).clamp_min(torch.finfo(prior.dtype).tiny)
    visits = nodes.visits.sum(-1)
    return (nodes.guess + visits * mean) / (1 + visits)


def rescaled(nodes: Nodes, config: GumbelConfig) -> Tensor:
    """What values add to the logits of nodes, (..., K): completed (eq. 10), then rescaled (eq. 8)."""
    completed = torch.where(nodes.visits > 0, nodes.q, mixed_value(nodes)[..., None])
    low, high = completed.aminmax(dim=-1, keepdim=True)
    share = (completed - low) / (high - low).clamp_min(SMALLEST)
    return (config.visit_offset + nodes.visits.amax(-1, keepdim=True)) * config.value_scale * share


def improved_policy(nodes: Nodes, config: GumbelConfig) -> Tensor:
    """Probabilities (..., K) that values improve (eq. 11)."""
    return (nodes.logits + rescaled(nodes, config)).softmax(-1)


def interior_choice(nodes: Nodes, config: GumbelConfig) -> Tensor:
    """Action (...) that is taken less often than the improved policy would (eq. 14)."""
    visits = nodes.visits
    share = visits / (1 + visits.sum(-1, keepdim=True))
    return (improved_policy(nodes, config) - share).argmax(-1)


def root_choice(nodes: Nodes, gumbel: Tensor, visits: Tensor, config: GumbelConfig) -> Tensor:
    """Best action (N,) of those at the root that have been taken `visits` (scalar or (N, 1)) times."""
    score = gumbel + nodes.logits + rescaled(nodes, config)
    return torch.where(nodes.visits == visits, score, -math.inf).argmax(-1)


def halving(considered: int, simulations: int) -> list[int]:
    """Visits that an action at the root must have to be taken in each simulation.

    Sequential halving (Karnin et al. 2013): each phase gives all actions that are left the same number of
    visits, and then the better half is left.
    """
    phases = max(1, math.ceil(math.log2(considered)))
    wanted: list[int] = []
    visits, left = 0, considered
    while len(wanted) < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            wanted += [visits] * left
            visits += 1
        left = max(min(2, considered), left // 2)
    return wanted[:simulations]


def candidates(config: GumbelConfig, action_space: gymnasium.Space) -> int:
    """Actions K of a node: all, or as many as are sampled; of several factors there are too many."""
    return action_width(action_space) if len(action_factors(action_space)) == 1 else config.sampled_actions


class GumbelPlanner:
    """Searches from every state of a batch at once.

    Args:
        config: settings.
        model: where to search.
        action_space: Discrete, MultiDiscrete or Box.
    """

    def __init__(self, config: GumbelConfig, model: SearchModel, action_space: gymnasium.Space) -> None:
        self.config = config
        self.model = model
        self.action_space = action_space
        self.every = len(action_factors(action_space)) == 1
        self.width = candidates(config, action_space)  # K
        self.wanted = halving(min(config.considered, self.width), config.simulations)
        self.first = self.wanted.count(0)
        deepest = config.simulations - self.first + 1  # each later simulation adds a level at most
        self.depth = min(config.depth or deepest, deepest)

    def draw_noise(self, count: int, generator: torch.Generator) -> GumbelNoise:
        """Everything that a search from `count` states samples with."""
        simulations, sampled = self.config.simulations, 0 if self.every else self.width
        chances = torch.rand(
            simulations, count, self.model.variables, device=generator.device, generator=generator
        )
        choices = policy_noise(self.action_space, (simulations + 1, count, sampled), generator)
        return GumbelNoise(gumbel_noise((count, self.width), generator), chances, choices)

    @torch.no_grad()
    def plan(self, state: State, noise: GumbelNoise, greedy: bool = False) -> Plan:
        """Search from `state` (N, ...); `greedy` tries the likeliest actions instead of drawn ones.

        The action is the best of those that were tried most; the value is the actor's, as the
        visited actions tell it with its own weights for them (appendix D): the root's mean return would be
        that of whatever was tried, with one step of every action alike.
        """
        gumbel = torch.zeros_like(noise.root) if greedy else self.config.gumbel_scale * noise.root
        tree = self.search(state, noise, gumbel)
        roots = torch.arange(len(gumbel), device=gumbel.device)
        root = tree.at(roots)
        best = root_choice(root, gumbel, root.visits.amax(-1, keepdim=True), self.config)
        return Plan(
            action=tree.actions(roots, best),
            candidates=tree.options(roots),
            weights=improved_policy(root, self.config),
            prior=root.logits.softmax(-1),
            value=mixed_value(root),
        )

    def search(self, state: State, noise: GumbelNoise, gumbel: Tensor) -> Tree:
        """Trees after all simulations from `state` (N, ...).

        Args:
            state: where to begin.
            noise: of the model.
            gumbel: noise by which actions at the root are drawn, (N, K).
        """
        tree = self.begin(state, noise.chances, noise.choices, gumbel)
        for i in range(self.first, self.config.simulations):
            leaves = torch.arange(len(gumbel), device=gumbel.device) + (i + 1) * len(gumbel)
            wanted = gumbel.new_full((), self.wanted[i])  # a tensor: compiled once for all of them
            self.simulate(tree, leaves, gumbel, wanted, noise.chances[i], noise.choices[i + 1])
        return tree

    def begin(self, state: State, chances: Tensor, choices: Tensor, gumbel: Tensor) -> Tree:
        """Plant the trees and make all M simulations of the first round of halving at once.

        Each of them takes an action at the root that was not taken yet, and all such actions are completed
        with one value: they follow by noise and prior alone, so none has to wait for another.
        """
        count, first = len(gumbel), self.first
        root = self.model.evaluate(state, choices[0])
        tree = plant(state, root, self.config.simulations)
        index = (gumbel + root.logits).topk(first).indices.T  # (M, N)
        roots = torch.arange(count, device=gumbel.device)
        leaves = torch.arange(count, (first + 1) * count, device=gumbel.device)
        step, judged = self._expand(
            tree,
            roots.repeat(first),
            index.flatten(),
            leaves,
            chances[:first].flatten(0, 1),
            choices[1 : first + 1].flatten(0, 1),
        )
        spread(tree, roots, index, (step.reward + step.discount * judged.value).view_as(index))
        return tree

    def simulate(
        self, tree: Tree, leaves: Tensor, gumbel: Tensor, wanted: Tensor, chance: Tensor, choices: Tensor
    ) -> None:
        """Make one simulation in every tree: descend, add a leaf (N,), carry its value up."""
        roots = torch.arange(len(gumbel), device=gumbel.device)
        path = descend(tree, roots, root_choice(tree.at(roots), gumbel, wanted, self.config), self.depth)
        parents = ends(tree, path)
        self._expand(tree, parents, tree.choice[parents], leaves, chance, choices)
        choose(tree, path, interior_choice(back_up(tree, path, parents, leaves), self.config))

    def _expand(
        self, tree: Tree, parents: Tensor, index: Tensor, leaves: Tensor, chance: Tensor, choices: Tensor
    ) -> tuple[Step, Evaluation]:
        """Take the actions of `index` (N,) in the parents (N,), and add the leaves (N,) to which they led."""
        state = pytree.tree_map(lambda x: x[parents], tree.state)
        step = self.model.step(state, tree.actions(parents, index), chance)
        judged = self.model.evaluate(step.state, choices)
        grow(tree, parents, index, leaves, step, judged)
        return step, judged
