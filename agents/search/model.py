"""What a search asks of a model, and the world model that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.actor_critic import ActorCritic
from world_model import Latent, WorldModel

State = Any
"""A tensor (N, ...), or tuples of them: a `Latent`, or the numbers of simulators that can be restored."""
Reward = Callable[[Latent, Tensor, Latent], Tensor]
"""Latents (N, ...), actions (N, A) and the latents that followed to rewards (N,)."""
Continues = Callable[[Tensor], Tensor]
"""Features (N, F) to the probability of going on times the discount, (N,)."""


class Step(NamedTuple):
    """Where an action led: the next state (N, ...), and reward and discount (N,) on the way."""

    state: State
    reward: Tensor
    discount: Tensor


class Evaluation(NamedTuple):
    """What a state is thought to be worth, and what to try in it."""

    logits: Tensor
    """Of the candidates, (N, K)."""
    value: Tensor
    """(N,)."""
    candidates: Tensor | None
    """Actions (N, K, A); None where they are all there are, one-hot, K = A."""


class SearchModel(Protocol):
    """A model in which can be searched."""

    variables: int
    """Uniform numbers S that a step samples with; 0 if it is deterministic."""

    def step(self, state: State, action: Tensor, noise: Tensor) -> Step:
        """Take `action` (N, A) in `state` (N, ...), with uniform noise (N, S)."""
        ...

    def evaluate(self, state: State, choices: Tensor) -> Evaluation:
        """Judge `state` (N, ...); noise (N, K, ...) samples the candidates where there are too many."""
        ...


class ImaginedModel:
    """A world model with the actor as prior and the critic as value.

    Args:
        world_model: steps in its latents.
        behaviour: actor and critic.
        reward: of a step; the task's, or one that can be computed in imagination.
        continues: of a row; `WorldModel.predict_continue` unless something else says when it ends.
    """

    def __init__(
        self,
        world_model: WorldModel,
        behaviour: ActorCritic,
        reward: Reward | None = None,
        continues: Continues | None = None,
    ) -> None:
        self.world_model = world_model
        self.behaviour = behaviour
        self.variables = world_model.config.stoch
        self._reward = reward or self._predicted_reward
        self._continues = continues or self._predicted_continue

    @torch.no_grad()
    def step(self, state: Latent, action: Tensor, noise: Tensor) -> Step:
        """Imagine one step."""
        following = self.world_model.dynamics.predict(state, action, noise)
        reward = self._reward(state, action, following)
        return Step(following, reward, self._continues(following.features))

    @torch.no_grad()
    def evaluate(self, state: Latent, choices: Tensor) -> Evaluation:
        """Ask actor and critic.

        Candidates are sampled from the policy, so that the policy among them is uniform (Hubert et al. 2021,
        arXiv 2104.06303, section 5: proposals equal to the policy).
        """
        features = state.features
        value = self.behaviour.value(features)
        policy = self.behaviour.policy(features[:, None])  # (N, 1, A)
        if len(self.behaviour.factors) == 1:
            return Evaluation(policy.parameters()["logits"][:, 0], value, None)
        candidates = policy.sample(choices).clamp(-1, 1)
        return Evaluation(torch.zeros_like(candidates[..., 0]), value, candidates)

    def _predicted_reward(self, before: Latent, action: Tensor, after: Latent) -> Tensor:
        return self.world_model.predict_reward(after.features)

    def _predicted_continue(self, features: Tensor) -> Tensor:
        return self.world_model.predict_continue(features)


def reward_of_rows(rewards: Callable[[Latent, Tensor], Tensor]) -> Reward:
    """Make a reward of a step from a reward of imagined rows.

    Args:
        rewards: latents (N, 2, ...) and actions (N, 2, A), of which row 1 led to row 1, to rewards (N, 2);
            such as an intrinsic reward.
    """

    def reward(before: Latent, action: Tensor, after: Latent) -> Tensor:
        pairs = zip(before, after, strict=True)
        rows = Latent(*(torch.stack(pair, 1) for pair in pairs))
        return rewards(rows, torch.stack([torch.zeros_like(action), action], 1))[:, 1]

    return reward
