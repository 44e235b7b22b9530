"""Search trees of a batch as tensors: descending, growing and backing up without a loop over trees.

The nodes of all N trees lie along one axis. Rows 0 to N - 1 are the roots, the next N the nodes that the
first simulation adds, and so on, so a tree's nodes are N rows apart. The last row belongs to no tree: ways
that have ended lead there and stay. Its reward is 0 and its discount 1, so that returns pass it unchanged.

What a node does next follows from its own statistics alone, which only change when a way leads through it.
So each node keeps its choice; descending is following it, and all nodes of a way choose anew at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from agents.search.model import Evaluation, State, Step


class Tree(NamedTuple):
    """R = (simulations + 1) * N + 1 nodes, which searching changes in place."""

    state: State
    """Of the model, (R, ...)."""
    candidates: Tensor | None
    """Sampled actions, (R, K, A); None where they are all there are, one-hot, K = A."""
    logits: Tensor
    """Of the prior over actions, (R, K)."""
    guess: Tensor
    """The value as the model judged it, (R,)."""
    reward: Tensor
    """On the way to the node, (R,)."""
    discount: Tensor
    """On the way to the node, (R,)."""
    value: Tensor
    """Mean of the guess and of the returns that passed, (R,)."""
    visits: Tensor
    """How often each action was taken, (R, K)."""
    q: Tensor
    """Reward and discounted value of each action; 0 where it was not taken, (R, K)."""
    children: Tensor
    """Node to which each action leads, or the last row, (R, K)."""
    choice: Tensor
    """Action that is taken next, (R,)."""
    following: Tensor
    """Node to which it leads, (R,)."""

    def at(self, rows: Tensor) -> Nodes:
        """What choosing in the nodes `rows` (...) goes by."""
        return Nodes(self.logits[rows], self.guess[rows], self.visits[rows], self.q[rows])

    def options(self, rows: Tensor) -> Tensor:
        """Actions (N, K, A) among which the nodes `rows` (N,) choose."""
        if self.candidates is not None:
            return self.candidates[rows]
        every = torch.eye(self.logits.shape[-1], dtype=self.logits.dtype, device=rows.device)
        return every.expand(len(rows), -1, -1)

    def actions(self, rows: Tensor, index: Tensor) -> Tensor:
        """Actions (N, A) of `index` (N,) in the nodes `rows` (N,)."""
        return self.options(rows)[torch.arange(len(rows), device=rows.device), index]


class Nodes(NamedTuple):
    """What choosing in some nodes goes by: their rows (..., K) and (...) of the tree's statistics."""

    logits: Tensor
    guess: Tensor
    visits: Tensor
    q: Tensor


def plant(state: State, root: Evaluation, simulations: int) -> Tree:
    """Trees of nothing but their roots (N, ...), with room for a node of each simulation."""
    count, width = root.logits.shape
    rows = (simulations + 1) * count + 1

    def numbers(*shape: int) -> Tensor:
        return root.logits.new_zeros(rows, *shape)

    def nowhere(*shape: int) -> Tensor:
        return root.logits.new_full((rows, *shape), rows - 1, dtype=torch.long)

    def room(x: Tensor) -> Tensor:
        return x.new_empty(rows, *x.shape[1:])

    tree = Tree(
        state=pytree.tree_map(room, state),
        candidates=None if root.candidates is None else room(root.candidates),
        logits=numbers(width),
        guess=numbers(),
        reward=numbers(),
        discount=numbers() + 1,
        value=numbers(),
        visits=numbers(width),
        q=numbers(width),
        children=nowhere(width),
        choice=nowhere() * 0,
        following=nowhere(),
    )
    _place(tree, torch.arange(count, device=root.logits.device), state, root)
    return tree


def _place(tree: Tree, rows: Tensor, state: State, evaluation: Evaluation) -> None:
    """Write new nodes (N, ...) into their rows (N,)."""
    for table, values in zip(pytree.tree_leaves(tree.state), pytree.tree_leaves(state), strict=True):
        table[rows] = values
    if tree.candidates is not None and evaluation.candidates is not None:
        tree.candidates[rows] = evaluation.candidates
    tree.logits[rows] = evaluation.logits
    tree.guess[rows] = evaluation.value
    tree.value[rows] = evaluation.value
    tree.choice[rows] = evaluation.logits.argmax(-1)  # what an unvisited node would choose


def grow(
    tree: Tree, parents: Tensor, index: Tensor, leaves: Tensor, step: Step, evaluation: Evaluation
) -> None:
    """Hang new leaves (N,) under their parents (N,), where the actions of `index` (N,) led.

    At the depth limit an action is taken once more, and the new node stands in the place of the old one.
    """
    _place(tree, leaves, step.state, evaluation)
    tree.reward[leaves] = step.reward
    tree.discount[leaves] = step.discount
    tree.children[parents, index] = leaves


def spread(tree: Tree, roots: Tensor, actions: Tensor, returns: Tensor) -> None:
    """Count first visits of M different actions (M, N) of the roots (N,), with their returns (M, N)."""
    tree.visits[roots, actions] = 1.0
    tree.q[roots, actions] = returns
    tree.value[roots] = torch.cat([tree.guess[roots][None], returns]).mean(0)


def descend(tree: Tree, roots: Tensor, choice: Tensor, depth: int) -> Tensor:
    """Follow the choices for at most `depth` nodes, the first of them `choice` (N,) in the roots (N,).

    Returns:
        Nodes on the way (depth, N), and the last row where it has ended.
    """
    tree.choice[roots] = choice
    tree.following[roots] = tree.children[roots, choice]
    path = [roots]
    for _ in range(depth - 1):
        path.append(tree.following[path[-1]])
    return torch.stack(path)


def ends(tree: Tree, path: Tensor) -> Tensor:
    """Last real nodes (N,) of a path (D, N)."""
    last = (path < len(tree.guess) - 1).sum(0, keepdim=True) - 1
    return path.gather(0, last)[0]


def back_up(tree: Tree, path: Tensor, parents: Tensor, leaves: Tensor) -> Nodes:
    """Carry the guesses of new leaves (N,) up a path (D, N) that ends in their parents (N,).

    Returns:
        Statistics (D, N, K) of the path's nodes as they are now.
    """
    tree.following[parents] = leaves
    child = tree.following[path]
    reward, discount = tree.reward[child], tree.discount[child]
    returns = [tree.guess[leaves]]
    for r, d in zip(reward.flip(0), discount.flip(0), strict=True):
        returns.append(r + d * returns[-1])
    visits = tree.visits[path]
    seen = 1 + visits.sum(-1)
    tree.value[path] = (seen * tree.value[path] + torch.stack(returns[:0:-1])) / (seen + 1)
    taken = tree.choice[path][..., None] == torch.arange(visits.shape[-1], device=path.device)
    q = torch.where(taken, (reward + discount * tree.value[child])[..., None], tree.q[path])
    tree.visits[path] = visits + taken
    tree.q[path] = q
    return tree.at(path)


def choose(tree: Tree, path: Tensor, choice: Tensor) -> None:
    """Let the nodes of a path (D, N) take the actions `choice` (D, N) when a way leads there again."""
    tree.choice[path] = choice
    tree.following[path] = tree.children[path, choice]
