"""What every agent is: a recurrent state, an actor on top of it, and one optimiser."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.actor_critic import ActorCritic
from agents.config import AgentConfig
from agents.distributions import policy_noise, uniform_actions
from agents.learning.freezing import Freezer
from agents.learning.optimizer import LaProp
from agents.noise import Noise
from agents.prior import PREFIX, PriorState, Teacher
from agents.programs.program import Mode as RunMode
from agents.programs.program import Program, make_program
from exploration import IntrinsicReward, make_intrinsic
from world_model import Filter, Latent
from world_model.objects import pointed_factors

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
        observation_space: images, vectors, symbols and sets of objects by key.
        action_space: Discrete, MultiDiscrete or Box.
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
                config.model.features,
                config.model.units,
                action_space,
                config.behaviour,
                pointed_factors(action_space, config.model),
            )
            self.intrinsic: IntrinsicReward | None = None
            if intrinsic is not None:
                self.intrinsic = make_intrinsic(
                    intrinsic, observation_space, self.world_model, config.intrinsic
                )
        self.prior: Teacher | None = None
        self._make_planners()
        self.to(device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.optimizer = self._make_optimizer()
        self.freezer = Freezer()
        self.program: Program = make_program(self, "eager")

    @abc.abstractmethod
    def _make_world_model(self) -> Filter:
        """Build what turns rows into latents, with fresh weights."""

    def _make_planners(self) -> None:
        """Build what plans."""

    @abc.abstractmethod
    def _losses(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every loss (B, T) or (N, H) by name, and metrics."""

    def _imagined(self, rows: Mapping[str, Tensor]) -> tuple[int, int]:
        """Horizon H, and N starts of imagination; none without a model."""
        return 0, 0

    def _unrolled(self, length: int) -> tuple[int, int]:
        """Rows K that are predicted ahead in sequences of `length` rows, and from how many of each."""
        return 0, 0

    def _plan_noise(self, rows: Mapping[str, Tensor], generator: torch.Generator) -> Any:
        """Noise of the plans that teach the actor in an update from `rows`; nothing where none does."""
        return ()

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

    def attach_prior(self, prior: Teacher) -> None:
        """Put a frozen teacher beside the agent."""
        self.prior = prior.to(self.device)

    def run_as(self, mode: RunMode) -> None:
        """Choose how updates and acting are carried out from here on: see `agents.programs.program`."""
        self.program = make_program(self, mode)

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
        if self.prior is None or not self.prior.pulls:
            return spec
        names = ("logits",) if self.behaviour.factors else ("mean", "std")
        width = self.behaviour.choices or self.world_model.dynamics.actions
        return spec | {PREFIX + name: ((width,), np.dtype(np.float32)) for name in names}

    @torch.no_grad()
    def act(
        self, rows: Mapping[str, np.ndarray], state: ActState, mode: Mode, env_step: int = 0
    ) -> tuple[np.ndarray, ActState, dict[str, np.ndarray]]:
        """Choose the next actions.

        Args:
            rows: observations and `is_first` of one row, (N, ...).
            state: from `initial_state` or the call before.
            mode: `train` lets a prior act its share; `evaluate` is the agent alone. Both sample, plan where
                `config.search` says so, and act at random beside an intrinsic reward that `acts_randomly`.
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
        choose = self.program.choose if mode == "train" else self.choose
        latent, action, log_prob = choose(batch, state.latent, self._act_noise(state))
        if self._plans(mode):
            action, log_prob = self._plan(latent, mode, state.generator)
        if self.intrinsic is not None and self.intrinsic.acts_randomly:
            action, log_prob = uniform_actions(self.action_space, len(state.action), state.generator)
        prior_state, record = state.prior, {LOG_PROB: log_prob} if mode == "train" else {}
        if self.prior is not None and mode == "train":
            assert state.prior is not None
            now = torch.tensor(float(env_step), device=self.device)
            teacher, prior_state = self.prior.follow(batch, state.prior, state.generator, now)
            led = teacher.sample(self._choice_noise(len(action), state.generator))
            led, acting = self._bounded(led), prior_state.acting > 0
            action = torch.where(acting[:, None], led, action)
            record[LOG_PROB] = torch.where(acting, teacher.log_prob_clipped(led), record[LOG_PROB])
            if self.prior.pulls:
                record |= {PREFIX + name: value for name, value in teacher.parameters().items()}
        next_state = ActState(latent, action, prior_state, state.generator)
        kept = {name: value.float().cpu().numpy() for name, value in record.items()}
        return action.float().cpu().numpy(), next_state, kept

    def _plans(self, mode: Mode) -> bool:
        """Whether acting plans, in a mode."""
        return False

    def _plan(self, latent: Latent, mode: Mode, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Planned actions (N, A) from `latent` (N, ...), and their log-probability (N,)."""
        raise NotImplementedError

    def _act_noise(self, state: ActState) -> tuple[Tensor, Tensor]:
        """Noise of one step of acting: of the filter (N, 1, S), and of the choice."""
        count, source = len(state.action), state.generator
        shape = (count, 1, self.config.model.stoch)
        return torch.rand(shape, device=self.device, generator=source), self._choice_noise(count, source)

    def _choice_noise(self, count: int, generator: torch.Generator) -> Tensor:
        return policy_noise(self.action_space, (count,), generator)

    def choose(
        self, batch: dict[str, Tensor], latent: Latent, noise: tuple[Tensor, Tensor]
    ) -> tuple[Latent, Tensor, Tensor]:
        """Filter one row (N, 1, ...) and choose: next latent, actions (N, A), their log-probability (N,)."""
        latents, _, _ = self.world_model.observe(batch, latent, noise[0])
        latent = latents.map(lambda x: x[:, 0])
        policy = self.behaviour.policy(latent.features)
        action = self._bounded(policy.sample(noise[1]))
        return latent, action, policy.log_prob_clipped(action)

    def _bounded(self, action: Tensor) -> Tensor:
        """Clip the actions of a Box to [-1, 1]."""
        return action if self.behaviour.factors else action.clamp(-1, 1)

    # Learning

    def update(self, batch: Mapping[str, Any], env_step: int = 0) -> dict[str, Tensor]:
        """Make one update of every part from replayed rows (B, T, ...).

        Returns:
            Metrics: scalars that still live on the device. Where `FINITE` is false nothing was learned.
        """
        self.freezer.thaw(env_step)
        rows = rows_on(self.device, batch)
        now = torch.tensor(float(env_step), device=self.device)
        return self.program.update(rows, self.draw_noise(rows), now)

    def draw_noise(self, rows: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Noise:
        """Noise of an update from `rows` (B, T, ...), by the agent's own generator or another."""
        generator = generator or self.generator
        (batch, length), (horizon, starts) = rows["is_first"].shape[-2:], self._imagined(rows)
        (steps, begun), variables = self._unrolled(length), self.config.model.stoch

        def uniform(*sides: int) -> Tensor:
            return torch.rand(*sides, device=generator.device, generator=generator)

        return Noise(
            uniform(batch, length, variables),
            uniform(horizon, starts, variables),
            policy_noise(self.action_space, (horizon, starts), generator),
            uniform(steps, batch, begun, variables),
            self._plan_noise(rows, generator),
        )

    def losses(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What an update descends, a scalar, and metrics.

        A function of parameters, buffers, rows (B, T, ...), noise and the step (scalar) alone. It moves
        buffers in place: the running moments and scales.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            losses, metrics = self._losses(rows, noise, env_step)
        means = {f"loss/{name}": loss.mean() for name, loss in losses.items()}
        total = torch.stack(list(means.values())).sum()
        means["loss/total"] = total
        return total, metrics | {name: mean.detach() for name, mean in means.items()}

    def step(self) -> None:
        """Follow the gradients at hand, and move what follows the parameters slowly."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.follow()

    def follow(self) -> None:
        """Move what follows the parameters slowly, after each step of the optimiser."""
        self.behaviour.update_slow()

    def start_targets(self) -> None:
        """Let what follows a loaded encoder slowly, and was not loaded itself, begin where that is."""

    def learning(self) -> list[bool]:
        """Which parameters learn, in their order."""
        return [p.requires_grad for p in self.parameters()]

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
        self, latents: Latent, rows: Mapping[str, Tensor], env_step: Tensor
    ) -> dict[str, Tensor]:
        """The pull towards the teacher, (B, T), where there is one; latents are detached."""
        if self.prior is None:
            return {}
        return self.prior.loss(self.behaviour.policy(latents.features), rows, env_step)

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
                self.optimizer.state[p] = {k: v.to(p.device, copy=True) for k, v in state[name].items()}


def rows_on(device: torch.device, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Replayed rows (..., B, T, ...) as the update reads them."""
    rows = {key: torch.as_tensor(value).to(device, non_blocking=True) for key, value in batch.items()}
    # A row before the first of another episode is a last one, also where a crash cut it off unseen.
    rows["is_last"] = rows["is_last"] | F.pad(rows["is_first"][..., 1:], (0, 1))
    return rows
