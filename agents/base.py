"""What every agent is: a recurrent state, an actor on top of it, and one optimiser."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from agents.actor_critic import ActorCritic
from agents.config import AgentConfig
from agents.distributions import uniform_actions
from agents.freezing import Freezer
from agents.optimizer import LaProp
from agents.prior import PREFIX, PolicyPrior, PriorState
from agents.program import CompiledLoss, rows_on
from exploration import IntrinsicReward, make_intrinsic
from world_model import Filter, Latent
from world_model.noise import Source

Mode = Literal["train", "evaluate"]
LOG_PROB = "behaviour/log_prob"
"""Replayed rows hold the log-probability of the action chosen in them under this name."""


class ActState(NamedTuple):
    """What acting remembers: latent (N, ...), last action (N, A), the prior's state, the samples' source."""

    latent: Latent
    action: Tensor
    prior: PriorState | None
    generator: torch.Generator


class Agent(nn.Module, abc.ABC):
    """What training, transfer and evaluation rely on, and what the agents have in common.

    Every agent filters what it sees into a latent and acts on its features. How it learns is the child's: it
    sets `world_model` and defines `_losses`.

    Args:
        observation_space: images and vectors by key.
        action_space: Discrete or Box.
        config: settings.
        intrinsic: name of the intrinsic reward (phase 1); None for the task's reward (phase 2).
        seed: of the initial weights and of every sample made while learning.
        device: where to compute.
    """

    world_model: Filter

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
            self.world_model = self._make_world_model()
            self.behaviour = ActorCritic(
                config.model.features, config.model.units, action_space, config.behaviour
            )
            self.intrinsic: IntrinsicReward | None = None
            if intrinsic is not None:
                self.intrinsic = make_intrinsic(
                    intrinsic, observation_space, self.world_model, config.intrinsic
                )
        self.prior: PolicyPrior | None = None
        self.compiled: CompiledLoss | None = None
        self.to(device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.optimizer = self._make_optimizer()
        self.freezer = Freezer()

    @abc.abstractmethod
    def _make_world_model(self) -> Filter:
        """Build what turns rows into latents, with fresh weights."""

    @abc.abstractmethod
    def _losses(
        self, rows: dict[str, Tensor], env_step: int, source: Source
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every loss (B, T) or (N,) by name, and metrics."""

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

    def compile_update(self) -> None:
        """Compile the loss at the next update, which then takes long; beside a prior it stays as it is.

        Raises:
            UserError: nothing here can compile.
        """
        self.compiled = CompiledLoss(self)

    def freeze(self, component: str, until: int | None = None) -> None:
        """Exclude a component from learning, up to an environment step or for good; before any update."""
        self.freezer.freeze(component, self.components()[component], until)

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

    @property
    def record_spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of what `act` adds to each row while training."""
        spec: dict[str, tuple[tuple[int, ...], np.dtype]] = {LOG_PROB: ((), np.dtype(np.float32))}
        if self.prior is None:
            return spec
        names = ("logits",) if self.behaviour.discrete else ("mean", "std")
        width = self.world_model.dynamics.actions
        return spec | {PREFIX + name: ((width,), np.dtype(np.float32)) for name in names}

    @torch.no_grad()
    def act(
        self, rows: Mapping[str, np.ndarray], state: ActState, mode: Mode, env_step: int = 0
    ) -> tuple[np.ndarray, ActState, dict[str, np.ndarray]]:
        """Choose the next actions.

        Args:
            rows: observations and `is_first` of one row, (N, ...).
            state: from `initial_state` or the call before.
            mode: `train` lets a prior act its share; `evaluate` is the agent alone. Both sample, and both
                act at random beside an intrinsic reward that `acts_randomly`.
            env_step: steps made so far, for the prior's schedule.

        Returns:
            Actions (N, A) as the learner sees them, the next state, and while training what the replay
            should keep beside the row (`record_spec`): the log-probability of the chosen action under who
            chose it, agent or prior, and the prior's distribution.
        """
        batch = {
            key: torch.as_tensor(rows[key], device=self.device)[:, None]
            for key in (*self.observation_space.keys(), "is_first")
        }
        batch["action"] = state.action[:, None]
        latents, _, _ = self.world_model.observe(batch, state.latent, state.generator)
        latent = latents.map(lambda x: x[:, 0])
        if self.intrinsic is not None and self.intrinsic.acts_randomly:
            action, log_prob = uniform_actions(self.action_space, len(state.action), state.generator)
        else:
            policy = self.behaviour.policy(latent.features)
            action = self._bounded(policy.sample(state.generator))
            log_prob = policy.log_prob_clipped(action)
        prior_state, record = state.prior, {LOG_PROB: log_prob} if mode == "train" else {}
        if self.prior is not None and mode == "train":
            assert state.prior is not None
            teacher, prior_state = self.prior.follow(batch, state.prior, state.generator, env_step)
            led, acting = self._bounded(teacher.sample(state.generator)), prior_state.acting
            action = torch.where(acting[:, None], led, action)
            record[LOG_PROB] = torch.where(acting, teacher.log_prob_clipped(led), record[LOG_PROB])
            record |= {PREFIX + name: value for name, value in teacher.parameters().items()}
        next_state = ActState(latent, action, prior_state, state.generator)
        kept = {name: value.float().cpu().numpy() for name, value in record.items()}
        return action.float().cpu().numpy(), next_state, kept

    def _bounded(self, action: Tensor) -> Tensor:
        """Clip the actions of a Box to [-1, 1]."""
        return action if self.behaviour.discrete else action.clamp(-1, 1)

    # Learning

    def update(self, batch: Mapping[str, Any], env_step: int = 0) -> dict[str, Tensor]:
        """Make one update of every part from replayed rows (B, T, ...).

        Returns:
            Metrics: scalars that still live on the device.
        """
        self.freezer.thaw(env_step)
        rows = rows_on(self.device, batch)
        if self.compiled is not None and self.prior is None:
            total, metrics = self.compiled(rows)
        else:
            total, metrics = self.total_loss(rows, env_step, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.behaviour.update_slow()
        return metrics

    def total_loss(
        self, rows: dict[str, Tensor], env_step: int, source: Source
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What an update descends, a scalar, and metrics.

        A function of parameters, buffers, rows (B, T, ...) and noise alone. It moves buffers in place: the
        running moments and scales.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            losses, metrics = self._losses(rows, env_step, source)
        total = torch.stack([loss.mean() for loss in losses.values()]).sum()
        return total, {**metrics, "loss/total": total.detach()}

    def _explored_reward(
        self,
        latents: Latent,
        rows: Mapping[str, Tensor],
        embeddings: Tensor,
        metrics: dict[str, Tensor],
    ) -> Tensor:
        """Scaled intrinsic reward of replayed rows (B, T); zero in first rows, which no action led to."""
        assert self.intrinsic is not None
        self.intrinsic.take_in(rows)
        earned = ~rows["is_first"]
        reward = self.intrinsic.reward(latents, rows["action"], rows, embeddings) * earned
        self.intrinsic.scale.update(reward[:, 1:], earned[:, 1:])
        metrics["intrinsic/reward"] = reward.mean()
        metrics["intrinsic/deviation"] = self.intrinsic.scale.deviation()
        return self.intrinsic.scale(reward)

    def _prior_losses(
        self, latents: Latent, rows: Mapping[str, Tensor], env_step: int, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The pull towards the teacher, (B, T), where there is one; latents are detached."""
        if self.prior is None:
            return {}
        pulled = self.prior.loss(self.behaviour.policy(latents.features), rows, env_step)
        metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in pulled.items()}
        return pulled

    # State

    def training_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the components: optimiser, generator, freezes, prior."""
        state: dict[str, Any] = {
            "optimizer": self._optimizer_state(),
            "generator": self.generator.get_state(),
            "freezer": self.freezer.state_dict(),
        }
        if self.prior is not None:
            state["prior"] = dict(self.prior.state_dict())
        return state

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `training_state`; prior and freezes must be there before as they were when it began."""
        self.freezer.load_state_dict(state["freezer"])
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
