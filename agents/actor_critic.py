"""Actor and critic, trained on imagined rows and the critic on replayed rows too (DreamerV3, 2024)."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping

import gymnasium
import torch
from torch import Tensor, nn

from agents.distributions import ActionDistribution, from_network
from agents.returns import PercentileScale, lambda_returns
from expedition import within
from world_model import action_width
from world_model.distributions import TWOHOT_BINS, twohot_loss, twohot_mean
from world_model.nets import MLP
from world_model.onehot import ROWS_AT_ONCE, Codes, by_pieces
from world_model.settle import settle


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
        action_space: Discrete or Box.
        config: settings.
    """

    def __init__(
        self, features: int, units: int, action_space: gymnasium.Space, config: ActorCriticConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        width = action_width(action_space)
        outputs = width if self.discrete else 2 * width
        self.actor = MLP(features, units, config.layers, outputs=outputs, outscale=0.01)
        self.critic = MLP(features, units, config.layers, outputs=TWOHOT_BINS, outscale=0.0)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.return_scale = PercentileScale(decay=config.return_decay, limit=config.return_limit)

    def policy(self, features: Tensor, codes: Codes | None = None) -> ActionDistribution:
        """Action distribution for `features` (..., F), or for dense ones (..., D) and codes of the others."""
        return from_network(self.actor(features, codes), self.discrete)

    @torch.no_grad()
    def update_slow(self) -> None:
        """Move the slow critic towards the critic; beside a frozen critic it stays as it is."""
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            if fast.requires_grad:
                slow.lerp_(fast, self.config.slow_rate)

    def imagination_loss(
        self,
        features: Tensor,
        policy: ActionDistribution,
        actions: Tensor,
        rewards: Tensor,
        continues: Tensor,
        codes: Codes | None = None,
        settled: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Losses of actor and critic on imagined rows.

        Args:
            features: (N, H + 1, F), or dense ones (N, H + 1, D) beside codes, without gradient.
            policy: that chose the actions in rows 0 to H - 1, over (N, H, A), with gradient into the actor.
            actions: (N, H + 1, A); row h led to row h.
            rewards: (N, H + 1); row h arrived at row h.
            continues: (N, H + 1), discount included.
            codes: of the one-hot features, (N, H + 1, S), where they are known.
            settled: differentiate the critic's loss at once (`settle`), piece by piece; it is then a scalar.

        Returns:
            Losses (N,) by name (`actor`, `critic`), lambda-returns (N, H), and metrics.
        """
        rows = {"rewards": rewards, "continues": continues}
        if codes is not None:
            rows["codes"] = codes.numbers
        evaluate = functools.partial(self._evaluate, width=0 if codes is None else codes.width)
        if settled:
            parameters = list(self.critic.parameters())
            critic, _, found = settle(evaluate, features, rows, parameters, ROWS_AT_ONCE)
        else:
            losses, found = evaluate(features, rows)
            critic = losses["critic"]
        values, returns = found["values"], found["returns"]
        self.return_scale.update(returns)
        weights = reached(continues)
        advantages = (returns - values[:, :-1]) / self.return_scale.scale()
        if self.config.center:
            advantages = advantages - (weights * advantages).sum() / weights.sum().clamp_min(1e-3)
        entropy = policy.entropy()
        gain = policy.log_prob(actions[:, 1:]) * advantages + self.config.entropy * entropy
        metrics = {
            "imagination/return": returns.mean(),
            "imagination/reward": rewards[:, 1:].mean(),
            "imagination/value": values.mean(),
            "imagination/return_scale": self.return_scale.scale(),
            "imagination/entropy": entropy.detach().mean(),
            "imagination/advantage": advantages.abs().mean(),
        }
        return {"actor": -(weights * gain).mean(1), "critic": critic}, returns, metrics

    def _evaluate(
        self, features: Tensor, rows: Mapping[str, Tensor], width: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The critic's loss (N,) on imagined rows, and their values (N, H + 1) and returns (N, H)."""
        codes = Codes(rows["codes"], width) if "codes" in rows else None
        logits = self.critic(features, codes)
        values = twohot_mean(logits).detach()
        no_last = torch.zeros_like(rows["continues"], dtype=torch.bool)
        returns = lambda_returns(rows["rewards"], values, rows["continues"], no_last, self.config.lam)
        slow_values = self._slow_values(features, codes)
        loss = reached(rows["continues"]) * self.critic_loss(logits[:, :-1], returns, slow_values[:, :-1])
        return {"critic": loss.mean(1)}, {"values": values, "returns": returns}

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
        slow_values = self._slow_values(features)
        continues = (~is_terminal).to(rewards.dtype) * discount
        returns = lambda_returns(rewards, bootstrap, continues, is_last, self.config.lam)
        loss = self.critic_loss(logits[:, :-1], returns, slow_values[:, :-1])
        return self.config.replay_critic * loss * ~is_last[:, :-1]

    @torch.no_grad()
    def _slow_values(self, features: Tensor, codes: Codes | None = None) -> Tensor:
        """Values (...) by the slow critic."""
        return by_pieces(lambda *rows: twohot_mean(self.slow_critic(*rows)), features, codes)

    def critic_loss(self, logits: Tensor, returns: Tensor, slow_values: Tensor) -> Tensor:
        """Two-hot loss towards the returns and towards the slow critic, (...)."""
        pull = self.config.slow_weight * twohot_loss(logits, slow_values)
        return twohot_loss(logits, returns) + pull
