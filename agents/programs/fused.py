"""Many agents of one shape as one program: their parameters side by side, their updates batched.

The loss of one agent is called under `torch.func.vmap` with the stacked parameters, buffers, rows and noise
of all. Each agent draws its noise from its own generator, and no sum runs over agents, so each learns what
it would learn by itself, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from agents.base import Agent, rows_on
from agents.learning.optimizer import step_together
from agents.noise import Noise
from agents.programs.program import Mode, make_program
from expedition import UserError


class _Loss(nn.Module):
    """An agent's loss as a module, so that it can be called with other parameters (`functional_call`)."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar) and metrics.

        Raises:
            RuntimeError: a loss replaced a buffer, whose new value would be lost.
        """
        held = dict(self.named_buffers())
        found = self.agent.losses(rows, noise, env_step)
        replaced = [name for name, buffer in self.named_buffers() if buffer is not held[name]]
        if replaced:
            raise RuntimeError(f"a loss must change buffers in place, and replaces {', '.join(replaced)}")
        return found


class FusedAgents:
    """Updates N agents at once.

    From here on the agents' parameters and buffers are views of stacked tensors (N, ...). Everything else
    that an agent does works as before: acting, saving, loading, and an update by itself. An agent belongs to
    the group into which it was fused last.

    Args:
        agents: two or more of equal shape and settings, with any seeds.
        mode: `eager`, or on a GPU `captured`.

    Raises:
        UserError: the agents differ in more than their seeds, or one has a policy prior or learns from plans.
    """

    def __init__(self, agents: Sequence[Agent], mode: Mode = "eager") -> None:
        check_alike(agents)
        self.device = agents[0].device
        self.agents = tuple(agents)
        self._template = _Loss(self.agents[0])
        self._views = [dict(_Loss(agent).named_parameters()) for agent in agents]
        self._params = {n: side_by_side([each[n] for each in self._views]) for n in self._views[0]}
        held = [dict(_Loss(agent).named_buffers()) for agent in agents]
        self._buffers = {n: side_by_side([each[n] for each in held]) for n in held[0]}
        self.program = make_program(self, mode)

    def update(
        self, batches: Sequence[Mapping[str, Any]], env_steps: Sequence[int] | None = None
    ) -> list[dict[str, Tensor]]:
        """Make one update of every agent.

        Args:
            batches: one of rows (B, T, ...) for each agent.
            env_steps: of each agent.

        Returns:
            The metrics of each agent: scalars that still live on the device. Where the loss or a gradient of
            one is not finite none learns.
        """
        agents = self.agents
        together = {key: torch.stack([torch.as_tensor(b[key]) for b in batches]) for key in batches[0]}
        rows = rows_on(self.device, together)
        drawn = [agent.draw_noise(rows) for agent in agents]
        noise = Noise(*map(torch.stack, zip(*(each[:-1] for each in drawn), strict=True)))
        steps = torch.tensor(env_steps or [0] * len(agents), dtype=torch.float32, device=self.device)
        metrics = self.program.update(rows, noise, steps)
        parts = {name: value.expand(len(agents)).unbind() for name, value in metrics.items()}
        return [{name: part[i] for name, part in parts.items()} for i in range(len(agents))]

    def losses(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the agents' losses, none of which depends on another's parameters; metrics (N,)."""
        totals, metrics = vmap(self._loss)(self._params, self._buffers, rows, noise, env_step)
        return totals.sum(), metrics

    def step(self) -> None:
        """Let every agent follow its gradients."""
        self._hand_out_gradients()
        step_together([agent.optimizer for agent in self.agents])
        for agent in self.agents:
            agent.optimizer.zero_grad(set_to_none=True)
            agent.follow()

    def parameters(self) -> Iterable[Tensor]:
        """The agents' stacked parameters."""
        return self._params.values()

    def buffers(self) -> Iterable[Tensor]:
        """The agents' stacked buffers."""
        return self._buffers.values()

    def learning(self) -> list[bool]:
        """Which parameters learn, in their order."""
        return self.agents[0].learning()

    def _loss(
        self,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        rows: dict[str, Tensor],
        noise: Noise,
        env_step: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of one agent; its buffers are moved in place, within the stacked ones."""
        return functional_call(self._template, (params, buffers), (rows, noise, env_step))

    def _hand_out_gradients(self) -> None:
        for name, stacked in self._params.items():
            gradients = [None] * len(self.agents) if stacked.grad is None else stacked.grad.unbind()
            for views, gradient in zip(self._views, gradients, strict=True):
                views[name].grad = gradient
            stacked.grad = None


def side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """Stack N tensors into (N, ...), of which they become views."""
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, part in zip(tensors, stacked.unbind(), strict=True):
        tensor.data = part
    return stacked.requires_grad_(tensors[0].requires_grad)


def check_alike(agents: Sequence[Agent]) -> None:
    """Refuse agents that one program cannot update.

    Raises:
        UserError: they differ in more than their seeds, or one has a policy prior or learns from plans.
    """
    if any(agent.config.search.update != "imagination" for agent in agents):
        raise UserError("Runs that learn from plans cannot be fused: leave --fused out for them.")
    if any(agent.prior is not None for agent in agents):
        raise UserError("Runs with a policy prior cannot be fused: leave --fused out for their plans.")
    forms = [
        (agent.config, {n: (p.shape, p.requires_grad) for n, p in agent.named_parameters()}, agent.device)
        for agent in agents
    ]
    if any(form != forms[0] for form in forms):
        raise UserError("Only runs that differ in nothing but their seed can be fused: leave --fused out.")
