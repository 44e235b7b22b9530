"""Actor and critic, trained on imagined rows and the critic on replayed rows too (DreamerV3, 2024)."""

from __future__ import annotations

import copy
import dataclasses

import gymnasium
import torch
from torch import Tensor, nn

from agents.distributions import ActionDistribution, from_network, paired_sizes
from agents.learning.returns import PercentileScale, lambda_returns
from agents.pointer import OUTSCALE, PointerActor, paired
from expedition.ranges import within
from world_model import action_factors, action_width
from world_model.distributions import TWOHOT_BINS, twohot_loss, twohot_mean
from world_model.nets import MLP


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig:
    """Settings of behaviour learning; defaults are DreamerV3's (2024)."""

    imagination: int = 15
    """Imagined steps H."""
    starts: int = 0
    """Rows at the end of each sequence from which imagination starts; 0 takes all."""
    lam: float = 0.95
    """Lambda of the returns."""
    entropy: float = 3e-4
    """Weight of the actor's entropy."""
    layers: int = 3
    """Hidden layers of actor and critic."""
    replay_critic: float = 0.3
    """Weight of the critic's loss on replayed rows."""
    slow_rate: float = 0.02
    """Share of the critic that the slow critic takes over at each update."""
    slow_weight: float = 1.0
    """Weight of the critic's pull towards the slow critic."""
    center: bool = False
    """Subtract the batch's mean advantage. The gradient's expectation stays; its noise falls where the
    critic lags behind rewards that are all positive."""
    return_decay: float = 0.99
    """Decay of the return percentiles."""
    return_limit: float = 1.0
    """Returns whose percentile range is below this are not scaled up."""

    def __post_init__(self) -> None:
        within(self, "agent.behaviour", "imagination layers", least=1)
        within(self, "agent.behaviour", "starts entropy replay_critic slow_weight", least=0)
        within(self, "agent.behaviour", "lam slow_rate", least=0, most=1)
        within(self, "agent.behaviour", "return_decay", least=0, below=1)
        within(self, "agent.behaviour", "return_limit", above=0)


def reached(continues: Tensor) -> Tensor:
    """Weights (N, H) of imagined rows 0 to H - 1, by `continues` (N, H + 1).

    Rows that imagination reaches after a likely end weigh less, and starts that are ends nothing.
    """
    return torch.cumprod(continues, 1)[:, :-1]


class ActorCritic(nn.Module):
    """Policy and value over the model's features.

    Args:
        features: width F.
        units: width of the hidden layers.
        action_space: Discrete, MultiDiscrete or Box.
        config: settings.
        pointed: the set of objects at which each factor of an action points (`pointed_factors`), if any.
    """

    def __init__(
        self,
        features: int,
        units: int,
        action_space: gymnasium.Space,
        config: ActorCriticConfig,
        pointed: tuple[str | None, ...] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.factors = action_factors(action_space)
        width = action_width(action_space)
        self.pair = paired(pointed)
        self.choices = sum(paired_sizes(self.factors, self.pair))
        self.actor: nn.Module
        if any(pointed):
            self.actor = PointerActor(features, units, config.layers, self.factors, pointed)
        else:
            outputs = width if self.factors else 2 * width
            self.actor = MLP(features, units, config.layers, outputs=outputs, outscale=OUTSCALE)
        self.critic = MLP(features, units, config.layers, outputs=TWOHOT_BINS, outscale=0.0)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.return_scale = PercentileScale(decay=config.return_decay, limit=config.return_limit)

    def policy(self, features: Tensor) -> ActionDistribution:
        """Action distribution for `features` (..., F)."""
        return from_network(self.actor(features), self.factors, self.pair)

    def choose(self, features: Tensor, noise: Tensor) -> Tensor:
        """Sampled actions (..., A) for `features` (..., F), from what `policy_noise` drew."""
        return self.policy(features).sample(noise)

    @torch.no_grad()
    def value(self, features: Tensor) -> Tensor:
        """What the critic expects of `features` (..., F), (...)."""
        return twohot_mean(self.critic(features))

    @torch.no_grad()
    def update_slow(self) -> None:
        """Move the slow critic towards the critic; beside a frozen critic it stays as it is."""
        pairs = zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True)
        moving = [(slow, fast) for slow, fast in pairs if fast.requires_grad]
        if moving:
            slows, fasts = zip(*moving, strict=True)
            torch._foreach_lerp_(slows, fasts, self.config.slow_rate)

    def imagination_loss(
        self, features: Tensor, actions: Tensor, rewards: Tensor, continues: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Losses of actor and critic on imagined rows.

        Args:
            features: (N, H + 1, F), without gradient.
            actions: (N, H + 1, A); row h led to row h.
            rewards: (N, H + 1); row h arrived at row h.
            continues: (N, H + 1), discount included.

        Returns:
            Losses (N, H) by name (`actor`, `critic`), lambda-returns (N, H), and metrics.
        """
        logits = self.critic(features)
        values = twohot_mean(logits).detach()  # (N, H + 1)
        no_last = torch.zeros_like(continues, dtype=torch.bool)
        returns = lambda_returns(rewards, values, continues, no_last, self.config.lam)  # (N, H)
        self.return_scale.update(returns)
        weights = reached(continues)
        advantages = (returns - values[:, :-1]) / self.return_scale.scale()
        if self.config.center:
            advantages = advantages - (weights * advantages).sum() / weights.sum().clamp_min(1e-3)
        policy = self.policy(features[:, :-1])
        entropy = policy.entropy()
        gain = policy.log_prob(actions[:, 1:]) * advantages + self.config.entropy * entropy
        losses = {
            "actor": -weights * gain,
            "critic": weights * self.critic_loss(logits[:, :-1], returns, features[:, :-1]),
        }
        metrics = {
            "imagination/return": returns.mean(),
            "imagination/reward": rewards[:, 1:].mean(),
            "imagination/value": values.mean(),
            "imagination/return_scale": self.return_scale.scale(),
            "imagination/entropy": entropy.detach().mean(),
            "imagination/advantage": advantages.abs().mean(),
        }
        return losses, returns, metrics

    def plan_loss(
        self, features: Tensor, candidates: Tensor, targets: Tensor, weights: Tensor, entropy: float
    ) -> Tensor:
        """Loss (N,) of the actor: the cross-entropy towards a plan, less the entropy bonus.

        Danihelka et al. 2022 ('Policy improvement by planning with Gumbel'), eq. 12.

        Args:
            features: of the states from which was planned, (N, F), without gradient.
            candidates: actions, (N, K, A), clipped where they are a Box's.
            targets: the plan's probabilities of the candidates, (N, K).
            weights: of the states, (N,).
            entropy: weight of the bonus.
        """
        policy = self.policy(features[:, None])  # (N, 1) beside candidates (N, K)
        likely = (targets * policy.log_prob_clipped(candidates)).sum(-1)
        return -weights * (likely + entropy * policy.entropy()[:, 0])

    def replay_loss(
        self,
        features: Tensor,
        rewards: Tensor,
        is_last: Tensor,
        is_terminal: Tensor,
        bootstrap: Tensor,
        discount: float,
    ) -> Tensor:
        """Critic loss on replayed rows, (B, K - 1), weighted by `replay_critic`.

        Args:
            features: (B, K, F), with gradient into the world model.
            rewards: (B, K).
            is_last: (B, K) bool; its rows cost nothing, for no row follows in their episode.
            is_terminal: (B, K) bool.
            bootstrap: return imagined from each row, (B, K).
            discount: of one step.
        """
        logits = self.critic(features)
        continues = (~is_terminal).to(rewards.dtype) * discount
        returns = lambda_returns(rewards, bootstrap, continues, is_last, self.config.lam)
        loss = self.critic_loss(logits[:, :-1], returns, features[:, :-1])
        return self.config.replay_critic * loss * ~is_last[:, :-1]

    def critic_loss(self, logits: Tensor, returns: Tensor, features: Tensor) -> Tensor:
        """Two-hot loss of `logits` (..., bins) towards the returns and towards the slow critic, (...)."""
        with torch.no_grad():
            slow_values = twohot_mean(self.slow_critic(features))
        return twohot_loss(logits, returns) + self.config.slow_weight * twohot_loss(logits, slow_values)
