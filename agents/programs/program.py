"""How updates and acting are carried out: operation by operation, compiled, or as one CUDA graph.

What is compiled, captured or left alone is decided here, and no other file knows. The model and the losses
are functions of tensors; a program calls them.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from agents.noise import Noise
from agents.programs.compiler import compiled, missing, one_at_a_time
from expedition.errors import UserError, unknown_name
from world_model import Latent

Mode = Literal["eager", "compiled", "captured"]
MODES: tuple[Mode, ...] = get_args(Mode)
Wish = Literal["auto", "on", "off"]
Rows = dict[str, Tensor]
Metrics = dict[str, Tensor]
Chosen = tuple[Latent, Tensor, Tensor]
FINITE = "finite"
"""Among an update's metrics: whether its loss and gradients were, for otherwise it was not made."""

PAYS_FROM = 2000
"""Updates from which compiling with an empty cache is worth its seconds on a CPU (docs/performance.md)."""
WARM_UP = 3
"""Updates before a CUDA graph is captured, in which everything is compiled and allocated."""
REGIONS = (
    "world_model.encoder.forward",
    "world_model.dynamics.filter_step",
    "world_model.dynamics.predict",
    "world_model.divergence",
    "world_model.prediction_losses",
    "world_model.reward_loss",
    "world_model.predict_reward",
    "world_model.predict_continue",
    "behaviour.choose",
    "behaviour.imagination_loss",
    "behaviour.replay_loss",
    "behaviour.plan_loss",
    "teacher.begin",
    "teacher.simulate",
    "teacher.follow_policy",
    "teacher.returns",
    "intrinsic.reward",
    "intrinsic.loss",
)
"""What is compiled of an update, each by itself: small enough to take seconds, and called often or large."""


class Learner(Protocol):
    """What a program needs of an agent, or of several that learn as one."""

    device: torch.device

    def losses(self, rows: Rows, noise: Noise, env_step: Tensor) -> tuple[Tensor, Metrics]:
        """What an update descends, and metrics."""
        ...

    def step(self) -> None:
        """Follow the gradients at hand, and forget them."""
        ...

    def parameters(self) -> Iterable[Tensor]:
        """What learns, and what does not."""
        ...

    def buffers(self) -> Iterable[Tensor]:
        """What a loss moves in place."""
        ...

    def learning(self) -> list[bool]:
        """Which parameters learn."""
        ...


class Program:
    """Operation by operation."""

    mode: Mode = "eager"

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def update(self, rows: Rows, noise: Noise, env_step: Tensor) -> Metrics:
        """Make one update from rows (B, T, ...); none where `metrics[FINITE]` says that it cannot be made."""
        metrics, buffers = self._gradients(rows, noise, env_step)
        if metrics[FINITE]:
            self.agent.step()
        else:
            self._undo(buffers)
        return metrics

    def _gradients(self, rows: Rows, noise: Noise, env_step: Tensor) -> tuple[Metrics, list[Tensor]]:
        """Leave gradients behind; returns metrics, and the buffers as they were before."""
        buffers = [buffer.clone() for buffer in self.agent.buffers()]
        total, metrics = self.agent.losses(rows, noise, env_step)
        total.backward()
        norms = torch._foreach_norm([p.grad for p in self.agent.parameters() if p.grad is not None])
        metrics[FINITE] = torch.stack([total.detach(), *norms]).isfinite().all()
        return metrics, buffers

    def _undo(self, buffers: list[Tensor]) -> None:
        """Leave no trace of the last gradients."""
        for buffer, before in zip(self.agent.buffers(), buffers, strict=True):
            buffer.copy_(before)
        for parameter in self.agent.parameters():
            parameter.grad = None

    def choose(self, batch: Rows, latent: Latent, noise: tuple[Tensor, Tensor]) -> Chosen:
        """Filter one row (N, 1, ...) and choose actions, while training."""
        return self.agent.choose(batch, latent, noise)


class Compiled(Program):
    """Regions of the update, and a step of acting, compiled: equal up to rounding."""

    mode: Mode = "compiled"

    def __init__(self, agent: Any) -> None:
        super().__init__(agent)
        self._regions = [(owner, name, compiled(getattr(owner, name))) for owner, name in regions(agent)]
        self._choose = compiled(agent.choose) if hasattr(agent, "choose") else None
        self._seen: set[str] = set()

    def _gradients(self, rows: Rows, noise: Noise, env_step: Tensor) -> tuple[Metrics, list[Tensor]]:
        with self._first("update", rows), self._in_place():
            return super()._gradients(rows, noise, env_step)

    def choose(self, batch: Rows, latent: Latent, noise: tuple[Tensor, Tensor]) -> Chosen:
        """Filter one row (N, 1, ...) and choose actions, while training."""
        assert self._choose is not None
        with self._first("choose", batch):
            return self._choose(batch, latent, noise)

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        """Put what is compiled in the place of the methods, for this update alone."""
        for owner, name, function in self._regions:
            setattr(owner, name, function)
        try:
            yield
        finally:
            for owner, name, _ in self._regions:
                delattr(owner, name)

    @contextlib.contextmanager
    def _first(self, what: str, rows: Rows) -> Iterator[None]:
        """The first call compiles, alone of those with equal shapes on this machine."""
        if what in self._seen:
            yield
            return
        self._seen.add(what)
        shapes = sorted((name, tuple(x.shape)) for name, x in rows.items())
        with one_at_a_time(f"{what} {shapes} {[tuple(x.shape) for x in self.agent.parameters()]}"):
            yield


class Captured(Compiled):
    """An update, its regions compiled, as two CUDA graphs that are replayed: to the gradients, and the step.

    The first updates run as they are; then one is captured, which computes nothing, and each later one copies
    its rows and noise into the graph's own and replays both. When other parameters learn or rows have another
    shape, it is captured anew.
    """

    mode: Mode = "captured"

    def __init__(self, agent: Any) -> None:
        super().__init__(agent)
        self._form: Any = None
        self._made = 0
        self._graphs: tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph] | None = None
        self._inputs: list[Tensor] = []
        self._metrics: Metrics = {}
        self._buffers: list[Tensor] = []

    def update(self, rows: Rows, noise: Noise, env_step: Tensor) -> Metrics:
        """Make one update from rows (B, T, ...)."""
        inputs, form = pytree.tree_flatten((rows, noise, env_step))
        known = (form, [x.shape for x in inputs], self.agent.learning())
        if known != self._form:
            self._form, self._made, self._graphs = known, 0, None
        self._made += 1
        if self._made <= WARM_UP:
            return self._beside(rows, noise, env_step)
        gradients, step = self._graphs or self._capture(inputs, form)
        for held, new in zip(self._inputs, inputs, strict=True):
            held.copy_(new, non_blocking=True)
        gradients.replay()
        if self._metrics[FINITE]:
            step.replay()
        else:
            self._undo(self._buffers)
        return {name: value.clone() for name, value in self._metrics.items()}

    def _beside(self, rows: Rows, noise: Noise, env_step: Tensor) -> Metrics:
        """One update on a stream of its own, as a capture wants those before it."""
        stream = torch.cuda.Stream(self.agent.device)
        stream.wait_stream(torch.cuda.current_stream(self.agent.device))
        with torch.cuda.stream(stream):
            metrics = super().update(rows, noise, env_step)
        torch.cuda.current_stream(self.agent.device).wait_stream(stream)
        return metrics

    def _capture(self, inputs: list[Tensor], form: Any) -> tuple[torch.cuda.CUDAGraph, torch.cuda.CUDAGraph]:
        self._inputs = [x.clone() for x in inputs]
        gradients, step = self._graphs = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        rows, noise, env_step = pytree.tree_unflatten(self._inputs, form)
        with torch.cuda.graph(gradients):
            self._metrics, self._buffers = self._gradients(rows, noise, env_step)
        with torch.cuda.graph(step, pool=gradients.pool()):
            self.agent.step()
        return self._graphs


def regions(agent: Any) -> Iterator[tuple[Any, str]]:
    """Owner and name of those methods of `REGIONS` that the agent has."""
    for path in REGIONS:
        place, name = path.rsplit(".", 1)
        with contextlib.suppress(AttributeError):
            owner = operator.attrgetter(place)(agent)
            if hasattr(owner, name):
                yield owner, name


_PROGRAMS: Mapping[Mode, Callable[[Any], Program]] = {
    "eager": Program,
    "compiled": Compiled,
    "captured": Captured,
}


def make_program(agent: Learner, mode: Mode) -> Program:
    """Return the program of an agent in a mode.

    Raises:
        UserError: there is no such mode, or it needs a GPU.
    """
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)
    if mode == "captured" and agent.device.type != "cuda":
        raise UserError("Updates are captured on a CUDA GPU alone: choose 'compiled' or 'eager'.")
    return _PROGRAMS[mode](agent)


def choose_mode(wish: Wish, device: torch.device, updates: int) -> tuple[Mode, str | None]:
    """Decide how a run's updates are carried out.

    Args:
        wish: `off`, `on`, or `auto`: where it pays.
        device: where they are computed.
        updates: how many are planned.

    Returns:
        The mode, and where it is not what was wished for, or a faster one cannot be had, why: a sentence.
    """
    if wish == "off" or updates == 0:
        return "eager", None
    if wish == "auto" and device.type == "cpu" and updates < PAYS_FROM:
        return "eager", None
    why = missing(device.type)
    if why is not None:
        return "eager", f"Updates run uncompiled, and slower, because {why}."
    return ("captured" if device.type == "cuda" else "compiled"), None
