"""Model predictive path integral control in latents, with the policy's own candidates (TD-MPC2).

Williams et al. 2015, 'Model predictive path integral control using covariance variable importance sampling',
arXiv 1509.01149; Hansen et al. 2024, 'TD-MPC2', arXiv 2310.16828, section 3.2 and appendix.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium
import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.utils import _pytree as pytree

from agents.search.config import MPPIConfig
from agents.search.model import SearchModel, State
from agents.search.plan import Plan, gumbel_noise
from expedition import UserError
from world_model import action_width


class ShootingNoise(NamedTuple):
    """What shooting from N states samples with."""

    chances: Tensor
    """Of the model's steps: uniform, (iterations + 1, H, N, S), the first for the policy's candidates. All
    candidates of a state meet the same chances: they are ranked by what they do and not by their luck."""
    guided: Tensor
    """Of the policy's candidates: normal, (H, N * P, 1, A)."""
    free: Tensor
    """Of the others: normal, (iterations, H, N, samples, A)."""
    pick: Tensor
    """Standard Gumbel noise of the choice among elites, (N, elites)."""


class ShootingPlanner:
    """Improves a normal distribution over action sequences for every state of a batch at once.

    Args:
        config: settings.
        model: where to look ahead.
        action_space: a Box.

    Raises:
        UserError: actions are discrete.
    """

    def __init__(self, config: MPPIConfig, model: SearchModel, action_space: gymnasium.Space) -> None:
        if not isinstance(action_space, gymnasium.spaces.Box):
            raise UserError(
                f"The planner 'mppi' is for continuous actions: with {action_space} choose agent.search.kind "
                "'gumbel'."
            )
        self.config = config
        self.model = model
        self.width = action_width(action_space)

    def draw_noise(self, count: int, generator: torch.Generator) -> ShootingNoise:
        """Everything that shooting from `count` states samples with."""
        config, device = self.config, generator.device
        steps, rounds, policy = config.horizon, config.iterations, config.policy_samples
        chances = (rounds + 1, steps, count, self.model.variables)
        guided = (steps, count * policy, 1, self.width)
        free = (rounds, steps, count, config.samples, self.width)
        return ShootingNoise(
            torch.rand(chances, device=device, generator=generator),
            torch.randn(guided, device=device, generator=generator),
            torch.randn(free, device=device, generator=generator),
            gumbel_noise((count, config.elites), generator),
        )

    @torch.no_grad()
    def plan(self, state: State, noise: ShootingNoise, greedy: bool = False) -> Plan:
        """Shoot from `state` (N, ...).

        The action is the first of an elite, drawn by the elites' weights, or with `greedy` the first of the
        last mean. Candidates are the elites' first actions; the value is their weighted mean return.
        """
        config = self.config
        guided = self.follow_policy(state, noise)  # (H, N, P, A)
        mean = torch.zeros_like(noise.free[0, :, :, 0])  # (H, N, A)
        std = torch.full_like(mean, config.max_std)
        for chances, free in zip(noise.chances[1:], noise.free, strict=True):
            drawn = (mean[:, :, None] + std[:, :, None] * free).clamp(-1, 1)
            candidates = torch.cat([guided, drawn], 2)
            returns, best = self.returns(state, candidates, chances).topk(config.elites)  # (N, elites)
            elites = candidates.take_along_dim(best[None, ..., None], 2)  # (H, N, elites, A)
            weights = (config.temperature * returns).softmax(-1)
            mean = (weights[..., None] * elites).sum(2)
            spread = (weights[..., None] * (elites - mean[:, :, None]).square()).sum(2).sqrt()
            std = spread.clamp(config.min_std, config.max_std)
        picked = (weights.log() + noise.pick).argmax(-1)
        action = mean[0] if greedy else elites[0].take_along_dim(picked[:, None, None], 1)[:, 0]
        prior = torch.full_like(weights, 1 / config.elites)
        return Plan(action, elites[0], weights, prior, (weights * returns).sum(-1))

    def follow_policy(self, state: State, noise: ShootingNoise) -> Tensor:
        """Action sequences (H, N, P, A) of the policy from `state` (N, ...)."""
        width = self.config.policy_samples
        state, actions = _repeated(state, width), []
        for chance, choice in zip(noise.chances[0], noise.guided, strict=True):
            candidates = self.model.evaluate(state, choice).candidates
            assert candidates is not None
            actions.append(candidates[:, 0])
            state = self.model.step(state, actions[-1], _repeated(chance, width)).state
        return rearrange(torch.stack(actions), "h (n p) a -> h n p a", p=width)

    def returns(self, state: State, candidates: Tensor, chances: Tensor) -> Tensor:
        """Discounted rewards (N, P) of action sequences (H, N, P, A), and the value where they end.

        Args:
            state: (N, ...).
            candidates: (H, N, P, A).
            chances: of the model, (H, N, S).
        """
        width, flat = candidates.shape[2], candidates.flatten(1, 2)  # (H, N * P, A)
        state = _repeated(state, width)
        total, weight = torch.zeros_like(flat[0, :, 0]), torch.ones_like(flat[0, :, 0])
        for action, chance in zip(flat, chances, strict=True):
            state, reward, discount = self.model.step(state, action, _repeated(chance, width))
            total, weight = total + weight * reward, weight * discount
        value = self.model.evaluate(state, torch.zeros_like(flat[0, :, None])).value
        return rearrange(total + weight * value, "(n p) -> n p", p=width)


def _repeated(state: State, times: int) -> State:
    """(N, ...) to (N * times, ...), copies of a row side by side."""
    return pytree.tree_map(lambda x: repeat(x, "n ... -> (n times) ...", times=times), state)
