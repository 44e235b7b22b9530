"""The model-based agent: world model, actor-critic in imagination or from plans, and what it works for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from agents.base import Agent, Mode
from agents.noise import Noise
from agents.search import (
    ImaginedModel,
    Planner,
    SearchConfig,
    SearchModel,
    make_planner,
    reward_of_rows,
    teaching,
)
from world_model import Latent, WorldModel


class DreamerAgent(Agent):
    """DreamerV3 (2024) that works for the task's reward, or for an intrinsic one.

    Returns of an intrinsic reward teach the critic and, where one is needed, the reward head, but do not
    shape the model: in phase 1 both read its features without gradient. A model that predicts nothing else
    has nothing else to learn from: there they do.
    """

    world_model: WorldModel

    def _make_world_model(self) -> WorldModel:
        return WorldModel(self.observation_space, self.action_space, self.config.model)

    def _make_planners(self) -> None:
        """Who plans while acting, by mode, and the actor's teacher; None where nobody does."""
        search = self.config.search
        planner = self.planner(search) if search.act or search.evaluate else None
        self.planners: dict[Mode, Planner | None] = {
            "train": planner if search.act else None,
            "evaluate": planner if search.evaluate else None,
        }
        self.teacher: Planner | None = None
        if search.update != "imagination":
            self.teacher = self.planner(teaching(search, self.action_space))

    def planner(self, search: SearchConfig, model: SearchModel | None = None) -> Planner:
        """Make a planner that asks actor and critic, in the world model or in what stands for it."""
        return make_planner(search, model or self._imagined_model(), self.action_space)

    def _imagined_model(self) -> ImaginedModel:
        reward = None
        if self.intrinsic is not None and self.intrinsic.in_imagination:
            reward = reward_of_rows(self._imagined_reward)
        return ImaginedModel(self.world_model, self.behaviour, reward)

    @contextlib.contextmanager
    def judged_with(self, planner: Planner | None) -> Iterator[None]:
        """Let another planner act while the agent is judged, or none."""
        usual, self.planners["evaluate"] = self.planners["evaluate"], planner
        try:
            yield
        finally:
            self.planners["evaluate"] = usual

    def _imagined(self, rows: Mapping[str, Tensor]) -> tuple[int, int]:
        """Horizon H, and N starts of imagination; none where plans teach the actor."""
        if self.teacher is not None:
            return 0, 0
        batch, length = rows["is_first"].shape[-2:]
        return self.config.behaviour.imagination, batch * self._starts(length)

    def _starts(self, length: int) -> int:
        """Rows at the end of each sequence of `length` rows from which is imagined or planned."""
        return min(self.config.behaviour.starts or length, length)

    def _plan_noise(self, rows: Mapping[str, Tensor], generator: torch.Generator) -> Any:
        """Noise of the plans that teach the actor."""
        if self.teacher is None:
            return ()
        batch, length = rows["is_first"].shape[-2:]
        return self.teacher.draw_noise(batch * self._starts(length), generator)

    def _plans(self, mode: Mode) -> bool:
        """Whether acting plans, in a mode."""
        return self.planners[mode] is not None

    def _plan(self, latent: Latent, mode: Mode, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Planned actions (N, A), and their log-probability (N,): NaN where candidates are sampled."""
        planner = self.planners[mode]
        assert planner is not None
        plan = planner.plan(latent, planner.draw_noise(len(latent.deter), generator))
        likely = (plan.weights[..., None] * plan.candidates * plan.action[:, None]).sum((1, 2)).log()
        every = len(self.behaviour.factors) == 1
        return plan.action, likely if every else torch.full_like(likely, torch.nan)

    def _unrolled(self, length: int) -> tuple[int, int]:
        """Rows K that are predicted ahead, and from how many of each sequence."""
        return self.world_model.decoder.unrolled(length)

    def follow(self) -> None:
        """Move the slow critic, and the target of the model's predictions."""
        super().follow()
        self.world_model.decoder.follow(self.world_model.encoder)

    def start_targets(self) -> None:
        """Let the target of the model's predictions see as the encoder does."""
        self.world_model.decoder.follow(self.world_model.encoder, share=1.0)

    def _losses(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, latents, embeddings, metrics = self.world_model.loss(rows, noise.posterior, noise.ahead)
        detached = latents.detach()
        shapes = self.intrinsic is None or self.config.model.predicts == "none"
        shaping = latents if shapes else detached
        if self.intrinsic is not None:
            reward = self._explored_reward(detached, rows, embeddings.detach(), metrics)
            rows = {**rows, "reward": reward}
            losses |= self.intrinsic.loss(detached, rows, embeddings.detach())
            if not self.intrinsic.in_imagination:
                losses["reward"] = self.world_model.reward_loss(shaping.features, reward)
        losses |= self._behaviour_losses(rows, shaping, noise, metrics)
        losses |= self._prior_losses(detached, rows, env_step)
        return losses, metrics

    def _behaviour_losses(
        self, rows: Mapping[str, Tensor], latents: Latent, noise: Noise, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses of actor and critic in imagination or from plans, and of the critic on the replayed rows."""
        starts = self._starts(rows["action"].shape[1])  # K
        first = latents.detach().map(lambda x: x[:, -starts:].flatten(0, 1))  # (B * K, ...)
        if self.teacher is None:
            losses, values = self._imagination_losses(first, noise, metrics)
            rows, latents = _tail(rows, starts), latents.map(lambda x: x[:, -starts:])
            values = values.unflatten(0, (-1, starts))
        else:
            losses, values = self._plan_losses(self.teacher, first, _tail(rows, starts), noise, metrics)
            values = self._before(latents, values.unflatten(0, (-1, starts)))
        if self.config.behaviour.replay_critic > 0 and rows["action"].shape[1] > 1:
            losses["replay_critic"] = self.behaviour.replay_loss(
                latents.features,
                self._completed(rows["reward"], latents),
                rows["is_last"],
                rows["is_terminal"],
                values,
                self.config.model.discount,
            )
        return losses

    def _before(self, latents: Latent, planned: Tensor) -> Tensor:
        """Values (B, L) of all rows: planned (B, K) of the last ones, and the critic's own of those before.

        The critic has no imagined rows to learn from, and those that are planned from would be too few.
        """
        earlier = latents.features[:, : -planned.shape[1]].detach()
        return torch.cat([self.behaviour.value(earlier), planned], 1)

    def dream(self, first: Latent, choices: Tensor, noise: Tensor) -> tuple[Latent, Tensor, Tensor, Tensor]:
        """Imagine the policy at work.

        Args:
            first: where to begin, (N, ...).
            choices: noise of the policy, (H, N, ...).
            noise: uniform, (H, N, S).

        Returns:
            Latents (N, H + 1, ...) and actions (N, H + 1, A) as `WorldModel.imagine` gives them, rewards
            (N, H + 1) of the rows, and continues (N, H + 1): the probability of going on times the discount.
        """
        imagined, actions = self.world_model.imagine(first, self.behaviour.choose, choices, noise)
        return (
            imagined,
            actions,
            self._imagined_reward(imagined, actions),
            self._imagined_continue(imagined.features),
        )

    def _imagination_losses(
        self, first: Latent, noise: Noise, metrics: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses (N, H) in imagination from latents (N, ...), and their returns (N,)."""
        imagined, actions, rewards, continues = self.dream(first, noise.policy, noise.prior)
        features = imagined.features  # (N, H + 1, F)
        losses, returns, found = self.behaviour.imagination_loss(features, actions, rewards, continues)
        metrics |= found
        return losses, returns[:, 0]

    def _plan_losses(
        self,
        teacher: Planner,
        first: Latent,
        rows: Mapping[str, Tensor],
        noise: Noise,
        metrics: dict[str, Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Loss (N,) of the actor towards plans from latents (N, ...), and the plans' values (N,)."""
        plan = teacher.plan(first, noise.plan)
        goes_on = (~rows["is_terminal"]).float().flatten()
        entropy = self.config.behaviour.entropy + self.config.search.entropy
        loss = self.behaviour.plan_loss(first.features, plan.candidates, plan.weights, goes_on, entropy)
        improved = torch.special.entr(plan.weights) + torch.special.xlogy(plan.weights, plan.prior)
        metrics["plan/value"] = plan.value.mean()
        metrics["plan/improvement"] = -improved.sum(-1).mean()  # KL(plan || prior) in nats
        metrics["plan/entropy"] = torch.special.entr(plan.weights).sum(-1).mean()
        return {"actor": loss}, plan.value

    @torch.no_grad()
    def _completed(self, reward: Tensor, latents: Latent) -> Tensor:
        """Replayed reward (B, K), and where it is unknown the model's guess."""
        return torch.where(reward.isnan(), self.world_model.predict_reward(latents.features), reward)

    @torch.no_grad()
    def _imagined_reward(self, imagined: Latent, actions: Tensor) -> Tensor:
        """Reward of imagined rows (N, H + 1): the intrinsic one where it can be computed, or the head's."""
        if self.intrinsic is not None and self.intrinsic.in_imagination:
            return self.intrinsic.scale(self.intrinsic.reward(imagined, actions))
        return self.world_model.predict_reward(imagined.features)

    @torch.no_grad()
    def _imagined_continue(self, features: Tensor) -> Tensor:
        """Probability of going on times the discount, (N, H + 1)."""
        return self.world_model.predict_continue(features)


def _tail(rows: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The last `count` rows of each sequence."""
    return {name: value[:, -count:] for name, value in rows.items()}
