"""An update as a program: its rows on the device, its noise drawn beforehand, its loss compiled."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from expedition import UserError
from world_model.noise import Draw, DrawnNoise, Recording, draw_all

if TYPE_CHECKING:
    from agents.base import Agent

Function = TypeVar("Function", bound=Callable)
Signature = tuple[tuple[str, tuple[int, ...]], ...]


def rows_on(device: torch.device, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Replayed rows (..., B, T, ...) as the update reads them."""
    rows = {key: torch.as_tensor(value).to(device, non_blocking=True) for key, value in batch.items()}
    # A row before the first of another episode is a last one, also where a crash cut it off unseen.
    rows["is_last"] = rows["is_last"] | F.pad(rows["is_first"][..., 1:], (0, 1))
    return rows


class NoisePlan:
    """What noise an update draws, learned once for each shape of its rows."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._known: dict[Signature, list[Draw]] = {}

    def draws(self, rows: Mapping[str, Tensor]) -> list[Draw]:
        """Noise of an update from `rows` (B, T, ...), which leaves no trace in the agent."""
        key = tuple((name, tuple(value.shape)) for name, value in rows.items())
        if key not in self._known:
            self._known[key] = self._record(rows)
        return self._known[key]

    @torch.no_grad()
    def _record(self, rows: Mapping[str, Tensor]) -> list[Draw]:
        """Live one loss with copies of what it changes."""
        agent = self._agent
        twin = torch.Generator(agent.device)
        twin.set_state(agent.generator.get_state())
        recording = Recording(twin)
        loss = TotalLoss(agent)
        copies = {name: buffer.clone() for name, buffer in loss.named_buffers()}

        def look(module: torch.nn.Module, *_: Any) -> None:
            replaced = [name for name, buffer in module.named_buffers() if buffer is not copies[name]]
            if replaced:
                raise RuntimeError(f"a loss must change buffers in place, and replaces {', '.join(replaced)}")

        loss.register_forward_hook(look)
        functional_call(loss, copies, (dict(rows), recording))
        return recording.draws


class TotalLoss(torch.nn.Module):
    """An agent's loss as a module, so that it can be called with other parameters (`functional_call`)."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(
        self, rows: dict[str, Tensor], noise: list[Tensor] | Recording
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar) and metrics from rows (B, T, ...) and the noise of the update."""
        source = DrawnNoise(noise) if isinstance(noise, list) else noise
        return self.agent.total_loss(rows, 0, source)


class CompiledLoss:
    """The loss of an agent, compiled: equal to it up to rounding.

    The noise is an input of the graph, drawn from the agent's generator as the agent itself would. On a GPU
    the graph is replayed as CUDA graphs.

    Args:
        agent: whose loss; without a prior, whose weight changes with every step.

    Raises:
        UserError: nothing here can compile.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._plan = NoisePlan(agent)
        self._loss = compiled(TotalLoss(agent).forward, agent.device)

    def __call__(self, rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of rows (B, T, ...)."""
        agent = self._agent
        noise = draw_all(self._plan.draws(rows), agent.device, agent.generator)
        return self._loss(rows, noise)


def compiled(function: Function, device: torch.device) -> Function:
    """Compile a function of tensors of fixed shapes.

    Raises:
        UserError: nothing here can compile.
    """
    if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError("--compile needs a C++ compiler on the CPU: install g++, or leave --compile out.")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError("--compile needs Triton on a GPU: install triton, or leave --compile out.")
    # Cached tables are traced like the rest: right, and told at every first update.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    mode = "reduce-overhead" if device.type == "cuda" else None
    return torch.compile(function, dynamic=False, fullgraph=True, mode=mode)  # type: ignore[return-value]
