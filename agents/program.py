"""How updates and acting are carried out: operation by operation, compiled, or as one CUDA graph.

What is compiled, captured or left alone is decided here, and no other file knows. The model and the losses
are functions of tensors; a program calls them.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from agents.noise import Noise
from world_model import Latent

Mode = Literal["eager", "compiled", "captured"]
MODES: tuple[Mode, ...] = ("eager", "compiled", "captured")
Rows = dict[str, Tensor]
Metrics = dict[str, Tensor]
Chosen = tuple[Latent, Tensor, Tensor]

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
    "intrinsic.reward",
    "intrinsic.loss",
)
"""What is compiled of an update, each by itself: small enough to take seconds, and called often or large."""


class Learner(Protocol):
    """What a program needs of an agent."""

    device: torch.device

    def losses(self, rows: Rows, noise: Noise, env_step: Tensor) -> tuple[Tensor, Metrics]:
        """What an update descends, and metrics."""
        ...

    def step(self) -> None:
        """Follow the gradients at hand."""
        ...

    def choose(self, batch: Rows, latent: Latent, noise: tuple[Tensor, Tensor]) -> Chosen:
        """Filter one row and choose actions."""
        ...


class Program:
    """Operation by operation."""

    def __init__(self, agent: Learner) -> None:
        self.agent = agent

    def update(self, rows: Rows, noise: Noise, env_step: int) -> Metrics:
        """Make one update from rows (B, T, ...)."""
        return self._update(rows, noise, torch.tensor(float(env_step), device=self.agent.device))

    def choose(self, batch: Rows, latent: Latent, noise: tuple[Tensor, Tensor]) -> Chosen:
        """Filter one row (N, 1, ...) and choose actions."""
        return self.agent.choose(batch, latent, noise)

    def _update(self, rows: Rows, noise: Noise, env_step: Tensor) -> Metrics:
        total, metrics = self.agent.losses(rows, noise, env_step)
        total.backward()
        self.agent.step()
        return metrics


class Compiled(Program):
    """Regions of the update, and a step of acting, compiled: equal up to rounding."""

    def __init__(self, agent: Learner) -> None:
        super().__init__(agent)
        self._regions = [
            (owner, name, _compiled(getattr(owner, name))) for owner, name in _found(agent, REGIONS)
        ]
        self._choose = _compiled(agent.choose)

    def choose(self, batch: Rows, latent: Latent, noise: tuple[Tensor, Tensor]) -> Chosen:
        """Filter one row (N, 1, ...) and choose actions."""
        return self._choose(batch, latent, noise)

    def _update(self, rows: Rows, noise: Noise, env_step: Tensor) -> Metrics:
        with self._in_place():
            return super()._update(rows, noise, env_step)

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


def _found(agent: Learner, paths: tuple[str, ...]) -> Iterator[tuple[Any, str]]:
    """Owner and name of those methods that the agent has."""
    for path in paths:
        place, name = path.rsplit(".", 1)
        owner = operator.attrgetter(place)(agent)
        if owner is not None and hasattr(owner, name):
            yield owner, name


def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)


def make_program(agent: Learner, mode: Mode) -> Program:
    """Return the program of an agent in a mode."""
    return {"eager": Program, "compiled": Compiled}[mode](agent)
