"""The model-based agent: world model, actor-critic in imagination, and what it explores or works for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.distributions import ActionDistribution, stack
from agents.optimizer import LaProp
from agents.prior import PREFIX, PolicyPrior, PriorConfig, PriorState
from expedition import unknown_name
from exploration import IntrinsicConfig, IntrinsicReward, make_intrinsic
from world_model import Latent, WorldModel, WorldModelConfig, for_size
from world_model.onehot import Codes

Mode = Literal["train", "evaluate"]
Precision = Literal["fp32", "bf16"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Settings of LaProp; defaults are DreamerV3's."""

    lr: float = 4e-5
    """Learning rate after warm-up."""
    actor_scale: float = 1.0
    """Learning rate of the actor over `lr`. The optimiser's steps do not shrink with the gradient, so at a
    high `lr` an actor follows noise to certainty before the model means anything."""
    warmup: int = 1000
    """Updates over which the learning rate rises."""
    beta2: float = 0.999
    """Decay of the squared gradient, whose root divides each step. The first gradients, of the mean picture,
    are by far the largest: 0.999 remembers them for a thousand updates, whose steps are then too small."""
    clip: float = 0.3
    """Adaptive gradient clipping: largest gradient norm over parameter norm, by tensor."""
    eps: float = 1e-20
    """Added to the root of the squared gradient."""


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """Everything that shapes an agent."""

    model: WorldModelConfig = for_size("12m")
    behaviour: ActorCriticConfig = ActorCriticConfig()
    intrinsic: IntrinsicConfig = IntrinsicConfig()
    prior: PriorConfig = PriorConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Precision = "fp32"
    """Of matrix products and convolutions in an update: fp32, or bf16 where the processor or GPU has it.
    States, distributions and losses stay fp32."""

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise unknown_name("precision", self.precision, ["fp32", "bf16"])


class ActState(NamedTuple):
    """What acting remembers: latent (N, ...), last action (N, A), the prior's state, the samples' source."""

    latent: Latent
    action: Tensor
    prior: PriorState | None
    generator: torch.Generator


class DreamerAgent(nn.Module):
    """DreamerV3 (2024) that works for the task's reward, or for an intrinsic one.

    Args:
        observation_space: images and vectors by key.
        action_space: Discrete or Box.
        config: settings.
        intrinsic: name of the intrinsic reward (phase 1); None for the task's reward (phase 2).
        seed: of the initial weights and of every sample made while learning.
        device: where to compute.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.Space,
        config: AgentConfig,
        intrinsic: str | None,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.config = config
        self.observation_space = observation_space
        self.action_space = action_space
        self.device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.world_model = WorldModel(observation_space, action_space, config.model)
            self.behaviour = ActorCritic(
                config.model.features, config.model.units, action_space, config.behaviour
            )
            self.intrinsic: IntrinsicReward | None = None
            if intrinsic is not None:
                self.intrinsic = make_intrinsic(
                    intrinsic, observation_space, self.world_model, config.intrinsic
                )
        self.prior: PolicyPrior | None = None
        self.to(device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> LaProp:
        config = self.config.optimizer
        actor = set(self.behaviour.actor.parameters())
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p not in actor], "lr": config.lr},
            {"params": [p for p in trained if p in actor], "lr": config.lr * config.actor_scale},
        ]
        return LaProp(
            groups,
            lr=config.lr,
            betas=(0.9, config.beta2),
            warmup=config.warmup,
            clip=config.clip,
            eps=config.eps,
        )

    def attach_prior(self, prior: PolicyPrior) -> None:
        """Put a frozen teacher beside the agent."""
        self.prior = prior.to(self.device)

    def freeze(self, component: str) -> None:
        """Exclude a component from learning; call it before the first update."""
        self.components()[component].requires_grad_(False)
        self.optimizer = self._make_optimizer()

    def components(self) -> dict[str, nn.Module]:
        """The units of transfer by their names on disk; parameters are shared with the agent."""
        parts = self.world_model.components()
        parts["actor"] = self.behaviour.actor
        parts["critic"] = nn.ModuleDict({"fast": self.behaviour.critic, "slow": self.behaviour.slow_critic})
        parts["normalizers"] = nn.ModuleDict({"return_scale": self.behaviour.return_scale})
        if self.intrinsic is not None:
            parts["intrinsic"] = self.intrinsic
        return parts

    # Acting

    def initial_state(self, batch: int, seed: int) -> ActState:
        """State before the first row of `batch` environments; every sample follows from `seed`."""
        return ActState(
            self.world_model.initial(batch),
            torch.zeros(batch, self.world_model.dynamics.actions, device=self.device),
            None if self.prior is None else self.prior.initial(batch),
            torch.Generator(self.device).manual_seed(seed),
        )

    @torch.no_grad()
    def act(
        self, rows: Mapping[str, np.ndarray], state: ActState, mode: Mode, env_step: int = 0
    ) -> tuple[np.ndarray, ActState, dict[str, np.ndarray]]:
        """Choose the next actions.

        Args:
            rows: observations and `is_first` of one row, (N, ...).
            state: from `initial_state` or the call before.
            mode: `train` lets a prior act its share; `evaluate` is the agent alone. Both sample.
            env_step: steps made so far, for the prior's schedule.

        Returns:
            Actions (N, A) as the learner sees them, the next state, and what the replay should keep beside
            the row (the prior's distribution).
        """
        batch = {
            key: torch.as_tensor(rows[key], device=self.device)[:, None]
            for key in (*self.observation_space.keys(), "is_first")
        }
        batch["action"] = state.action[:, None]
        latents, _, _ = self.world_model.observe(batch, state.latent, state.generator)
        latent = latents.map(lambda x: x[:, 0])
        action = self.behaviour.policy(latent.features).sample(state.generator)
        prior_state, record = state.prior, {}
        if self.prior is not None and mode == "train":
            assert state.prior is not None
            teacher, prior_state = self.prior.follow(batch, state.prior, state.generator, env_step)
            led = teacher.sample(state.generator)
            action = torch.where(prior_state.acting[:, None], led, action)
            record = {PREFIX + k: v.float().cpu().numpy() for k, v in teacher.parameters().items()}
        if not self.behaviour.discrete:
            action = action.clamp(-1, 1)
        next_state = ActState(latent, action, prior_state, state.generator)
        return action.float().cpu().numpy(), next_state, record

    # Learning

    def update(self, batch: Mapping[str, np.ndarray], env_step: int = 0) -> dict[str, Tensor]:
        """Make one update of every part from replayed rows (B, T, ...).

        Returns:
            Metrics: scalars that still live on the device.
        """
        rows = {key: torch.as_tensor(value).to(self.device) for key, value in batch.items()}
        # A row before the first of another episode is a last one, also where a crash cut it off unseen.
        rows["is_last"] = rows["is_last"] | F.pad(rows["is_first"][:, 1:], (0, 1))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            losses, metrics = self._losses(rows, env_step)
        total = torch.stack([loss.mean() for loss in losses.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.behaviour.update_slow()
        metrics["loss/total"] = total.detach()
        return metrics

    def _losses(self, rows: dict[str, Tensor], env_step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every loss (B, T) or (N,) by name, and metrics."""
        metrics: dict[str, Tensor] = {}
        if self.intrinsic is not None and not self.intrinsic.in_imagination:
            rows = {**rows, "reward": self._explored_reward(None, rows, metrics)}
        losses, latents, embeddings, model_metrics = self.world_model.loss(rows, self.generator, settled=True)
        metrics |= model_metrics
        detached = latents.detach()
        if self.intrinsic is not None:
            if self.intrinsic.in_imagination:
                rows = {**rows, "reward": self._explored_reward(detached, rows, metrics)}
            learned = self.intrinsic.loss(detached, rows, embeddings.detach())
            losses |= learned
            metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in learned.items()}
        behaviour, behaviour_metrics = self._behaviour_losses(rows, latents)
        losses |= behaviour
        metrics |= behaviour_metrics
        if self.prior is not None:
            policy = self.behaviour.policy(detached.features)
            pulled = self.prior.loss(policy, rows, env_step)
            losses |= pulled
            metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in pulled.items()}
        return losses, metrics

    def _explored_reward(
        self, latents: Latent | None, rows: Mapping[str, Tensor], metrics: dict[str, Tensor]
    ) -> Tensor:
        """Scaled intrinsic reward of replayed rows (B, T); zero in first rows, which no action led to."""
        assert self.intrinsic is not None
        self.intrinsic.take_in(rows)
        earned = ~rows["is_first"]
        reward = self.intrinsic.reward(latents, rows["action"], rows) * earned  # type: ignore[arg-type]
        self.intrinsic.scale.update(reward[:, 1:], earned[:, 1:])
        metrics["intrinsic/reward"] = reward.mean()
        metrics["intrinsic/deviation"] = self.intrinsic.scale.deviation()
        return self.intrinsic.scale(reward)

    def _behaviour_losses(
        self, rows: Mapping[str, Tensor], latents: Latent
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of actor and critic in imagination, and of the critic on the replayed rows."""
        config = self.config.behaviour
        length = rows["action"].shape[1]
        starts = min(config.starts or length, length)
        tail = latents.map(lambda x: x[:, -starts:])
        first = tail.detach().map(lambda x: x.flatten(0, 1))  # (B * K, ...)
        imagined, actions, policy = self._imagine(first)
        features, codes = imagined.features, Codes.of(imagined.stoch)  # (N, H + 1, F)
        with torch.no_grad():
            rewards = self._imagined_reward(imagined, actions, features, codes)
            continues = self.world_model.predict_continue(features, codes)
        losses, returns, metrics = self.behaviour.imagination_loss(
            features, policy, actions, rewards, continues, codes
        )
        if config.replay_critic > 0 and starts > 1:
            reward = rows["reward"][:, -starts:]
            with torch.no_grad():  # where the reward is unknown, the model's guess stands in
                reward = torch.where(reward.isnan(), self.world_model.predict_reward(tail.features), reward)
            losses["replay_critic"] = self.behaviour.replay_loss(
                tail.features,
                reward,
                rows["is_last"][:, -starts:],
                rows["is_terminal"][:, -starts:],
                returns[:, 0].unflatten(0, (-1, starts)),
                self.config.model.discount,
            )
        metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in losses.items()}
        return losses, metrics

    def _imagine(self, first: Latent) -> tuple[Latent, Tensor, ActionDistribution]:
        """Imagine from `first` (N, ...): latents and actions (N, H + 1, ...), and the policy (N, H, A)."""
        policies: list[ActionDistribution] = []
        model = self.config.model

        def act(features: Tensor) -> Tensor:
            codes = Codes.of(features[:, model.deter :].unflatten(-1, (model.stoch, model.classes)))
            with torch.enable_grad():  # the one gradient that imagination needs, kept for the actor's loss
                policies.append(self.behaviour.policy(features, codes))
            return policies[-1].sample(self.generator)

        horizon = self.config.behaviour.imagination
        imagined, actions = self.world_model.imagine(first, act, horizon, self.generator)
        return imagined, actions, stack(policies)

    def _imagined_reward(
        self, imagined: Latent, actions: Tensor, features: Tensor, codes: Codes | None = None
    ) -> Tensor:
        """Reward of imagined rows (N, H + 1): the intrinsic one where it can be computed, or the head's."""
        if self.intrinsic is not None and self.intrinsic.in_imagination:
            return self.intrinsic.scale(self.intrinsic.reward(imagined, actions))
        return self.world_model.predict_reward(features, codes)

    # State

    def training_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the components: optimiser, generator, and the prior's weights."""
        state: dict[str, Any] = {
            "optimizer": self._optimizer_state(),
            "generator": self.generator.get_state(),
        }
        if self.prior is not None:
            state["prior"] = dict(self.prior.state_dict())
        return state

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `training_state`; a prior must be attached before if the state holds one."""
        self._load_optimizer_state(state["optimizer"])
        self.generator.set_state(state["generator"])
        if self.prior is not None:
            self.prior.load_state_dict(state["prior"])

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _optimizer_state(self) -> dict[str, Any]:
        """The optimiser's tensors by parameter name."""
        return {
            name: dict(self.optimizer.state[p])
            for name, p in self._trained().items()
            if p in self.optimizer.state
        }

    def _load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        self.optimizer.state.clear()
        for name, p in self._trained().items():
            if name in state:
                held = {k: v.to(p.device, copy=True) for k, v in state[name].items() if k != "step"}
                self.optimizer.state[p] = {"step": state[name]["step"].clone(), **held}
