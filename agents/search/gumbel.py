"""Gumbel MuZero search (Danihelka et al. 2022, 'Policy improvement by planning with Gumbel').

Equations are numbered as there. Continuous actions are sampled in every node (Hubert et al. 2021,
'Learning and planning in complex action spaces', arXiv 2104.06303).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from agents.distributions import policy_noise
from agents.search.config import GumbelConfig
from agents.search.model import Evaluation, SearchModel, State, Step
from agents.search.plan import Plan, gumbel_noise
from agents.search.tree import Nodes, Tree, back_up, choose, descend, ends, grow, plant, spread
from world_model import action_width

SMALLEST = 1e-8
"""Ranges of values below this are not stretched to 1."""


class GumbelNoise(NamedTuple):
    """What a search from N states samples with."""

    root: Tensor
    """Standard Gumbel noise of the actions at the root, (N, K)."""
    chances: Tensor
    """Of the model's steps: uniform, (simulations, N, S)."""
    choices: Tensor
    """Of the actions sampled in each node: normal, (simulations + 1, N, K, A); empty for Discrete."""


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


class GumbelPlanner:
    """Searches from every state of a batch at once.

    Args:
        config: settings.
        model: where to search.
        action_space: Discrete or Box.
    """

    def __init__(self, config: GumbelConfig, model: SearchModel, action_space: gymnasium.Space) -> None:
        self.config = config
        self.model = model
        self.action_space = action_space
        self.discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        self.width = action_width(action_space) if self.discrete else config.sampled_actions  # K
        self.wanted = halving(min(config.considered, self.width), config.simulations)
        self.first = self.wanted.count(0)
        deepest = config.simulations - self.first + 1  # each later simulation adds a level at most
        self.depth = min(config.depth or deepest, deepest)

    def draw_noise(self, count: int, generator: torch.Generator) -> GumbelNoise:
        """Everything that a search from `count` states samples with."""
        simulations, sampled = self.config.simulations, 0 if self.discrete else self.width
        chances = torch.rand(
            simulations, count, self.model.variables, device=generator.device, generator=generator
        )
        choices = policy_noise(self.action_space, (simulations + 1, count, sampled), generator)
        return GumbelNoise(gumbel_noise((count, self.width), generator), chances, choices)

    @torch.no_grad()
    def plan(self, state: State, noise: GumbelNoise, greedy: bool = False) -> Plan:
        """Search from `state` (N, ...); `greedy` tries the likeliest actions instead of drawn ones.

        The action is the best of those that were tried most; the value is the root's mean return.
        """
        gumbel = torch.zeros_like(noise.root) if greedy else self.config.gumbel_scale * noise.root
        tree, candidates = self.search(state, noise, gumbel)
        root = _nodes(tree, len(gumbel))
        best = root_choice(root, gumbel, root.visits.amax(-1, keepdim=True), self.config)
        return Plan(
            action=self._actions(candidates, torch.arange(len(gumbel), device=gumbel.device), best),
            candidates=self._every(candidates, gumbel),
            weights=improved_policy(root, self.config),
            prior=root.logits.softmax(-1),
            value=tree.value[: len(gumbel)],
        )

    def search(self, state: State, noise: GumbelNoise, gumbel: Tensor) -> tuple[Tree, Tensor | None]:
        """Trees after all simulations from `state` (N, ...), and the candidates (R, K, A) of their nodes.

        Args:
            state: where to begin.
            noise: of the model.
            gumbel: noise by which actions at the root are drawn, (N, K).
        """
        simulations = torch.arange(self.config.simulations + 1, device=gumbel.device)
        roots = torch.arange(len(gumbel), device=gumbel.device)
        nodes = simulations[:, None] * len(gumbel) + roots  # (simulations + 1, N)
        wanted = torch.tensor(self.wanted, device=gumbel.device)
        tree, table = self.begin(state, nodes, noise, gumbel)
        for i in range(self.first, self.config.simulations):
            self.simulate(
                tree, table, nodes[i + 1], roots, gumbel, wanted[i], noise.chances[i], noise.choices[i + 1]
            )
        return tree, table[1]

    def begin(
        self, state: State, nodes: Tensor, noise: GumbelNoise, gumbel: Tensor
    ) -> tuple[Tree, tuple[State, Tensor | None]]:
        """Plant the trees and make all simulations of the first round of halving at once.

        Each of them tries an action that was not tried yet, all of which are still completed with one value:
        they are tried in the order of noise and prior alone, so none has to wait for another.
        """
        root = self.model.evaluate(state, noise.choices[0])
        tree = plant(root, self.config.simulations)
        roots, leaves = nodes[0], nodes[1 : self.first + 1]
        kept = (state, root.candidates)  # of each node: its state, and what can be done in it
        table = pytree.tree_map_only(Tensor, lambda x: x.new_empty((nodes.numel(), *x.shape[1:])), kept)
        _write(table, roots, kept)
        actions = (gumbel + root.logits).topk(self.first).indices.T  # (M, N)
        parents = roots.repeat(self.first)
        chances, choices = noise.chances[: self.first], noise.choices[1 : self.first + 1]
        step, judged = self._expand(
            tree, table, parents, actions.flatten(), leaves.flatten(), chances.flatten(0, 1), choices.flatten(0, 1)
        )
        returns = (step.reward + step.discount * judged.value).view_as(actions)
        spread(tree, roots, actions, returns)
        return tree, table

    def simulate(
        self,
        tree: Tree,
        table: tuple[State, Tensor | None],
        leaves: Tensor,
        roots: Tensor,
        gumbel: Tensor,
        wanted: Tensor,
        chance: Tensor,
        choices: Tensor,
    ) -> None:
        """Make one simulation in every tree: descend, add a node, carry its value up."""
        first = root_choice(_nodes(tree, len(roots)), gumbel, wanted, self.config)
        path = descend(tree, roots, first, self.depth)
        parents = ends(tree, path)
        self._expand(tree, table, parents, tree.choice[parents], leaves, chance, choices)
        choose(tree, path, interior_choice(back_up(tree, path, parents, leaves), self.config))

    def _expand(
        self,
        tree: Tree,
        table: tuple[State, Tensor | None],
        parents: Tensor,
        index: Tensor,
        leaves: Tensor,
        chance: Tensor,
        choices: Tensor,
    ) -> tuple[Step, Evaluation]:
        """Take the actions of `index` (N,) in the parents (N,), judge where they led, and add those leaves."""
        states, candidates = table
        state = pytree.tree_map(lambda x: x[parents], states)
        step = self.model.step(state, self._actions(candidates, parents, index), chance)
        judged = self.model.evaluate(step.state, choices)
        _write(table, leaves, (step.state, judged.candidates))
        grow(tree, parents, index, leaves, step, judged)
        return step, judged

    def _actions(self, candidates: Tensor | None, nodes: Tensor, index: Tensor) -> Tensor:
        """Actions (N, A) of `index` (N,) in nodes (N,) with candidates (R, K, A)."""
        if candidates is None:
            return (index[:, None] == torch.arange(self.width, device=index.device)).float()
        return candidates[nodes, index]

    def _every(self, candidates: Tensor | None, like: Tensor) -> Tensor:
        """Candidates (N, K, A) of the roots."""
        if candidates is None:
            return torch.eye(self.width, device=like.device).expand(len(like), -1, -1)
        return candidates[: len(like)]


def _nodes(tree: Tree, count: int) -> Nodes:
    """The roots' statistics."""
    return Nodes(*(x[:count] for x in (tree.logits, tree.guess, tree.visits, tree.q)))


def _write(table: Any, nodes: Tensor, values: Any) -> None:
    """Write values (N, ...) of nodes (N,) into tables (R, ...)."""
    for rows, value in zip(pytree.tree_leaves(table), pytree.tree_leaves(values), strict=True):
        if rows is not None:
            rows[nodes] = value
