"""A policy cloned from trajectories: the teacher of the plan `guidance`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agents import GuidanceConfig
from agents.base import rows_on
from agents.prior import Teacher
from training import Replay
from world_model import Latent

LAST = 10
"""One part in so many of the updates, the last, tells how well the clone fits."""


def clone(
    teacher: Teacher,
    rows: dict[str, np.ndarray],
    config: GuidanceConfig,
    seed: int,
    device: torch.device,
    check: Callable[[], None],
) -> float:
    """Fit the teacher's actor to the actions of rows; its encoder and dynamics stay as they are.

    Row t + 1 holds the action that was chosen in row t, so with z_t the latent of row t the loss is

        L = - mean_t log pi(a_{t+1} | z_t)   over the rows that do not end an episode.

    Args:
        teacher: whose actor is fresh.
        rows: (n, ...) by name, episodes one after the other, at least two rows.
        config: of the fit.
        seed: of sequences and latents.
        device: where to compute.
        check: called at every update; it raises where a stop came.

    Returns:
        The mean loss of the last tenth of the updates, in nats.
    """
    replay = _replay(rows)
    rng, generator = np.random.default_rng([seed, 3]), torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.Adam(teacher.actor.parameters(), lr=config.lr)
    teacher.actor.requires_grad_(True)
    losses = []
    for _ in range(config.updates):
        check()
        batch = replay.sample(config.batch, min(config.length, len(replay)), rng)
        loss = _loss(teacher, rows_on(device, batch), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    teacher.actor.requires_grad_(False)
    return float(torch.stack(losses[-max(1, len(losses) // LAST) :]).mean())


def _replay(rows: dict[str, np.ndarray]) -> Replay:
    spec = {name: (values.shape[1:], values.dtype) for name, values in rows.items()}
    count = len(rows["is_first"])
    size = sum(values.nbytes for values in rows.values())
    replay = Replay(1, spec, size, max_rows=count)
    replay.extend({name: values[None] for name, values in rows.items()})
    return replay


def _loss(teacher: Teacher, rows: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    latents = _latents(teacher, rows, generator).map(lambda x: x[:, :-1])
    likely = teacher.policy(latents).log_prob_clipped(rows["action"][:, 1:])  # (B, T - 1)
    goes_on = (~rows["is_last"][:, :-1]).float()
    return -(likely * goes_on).sum() / goes_on.sum().clamp_min(1.0)


@torch.no_grad()
def _latents(teacher: Teacher, rows: dict[str, Tensor], generator: torch.Generator) -> Latent:
    """Latents (B, T, ...) of sequences, from zeros on."""
    dynamics = teacher.dynamics
    batch, length = rows["is_first"].shape
    noise = torch.rand(batch, length, dynamics.config.stoch, device=generator.device, generator=generator)
    embeddings = teacher.encoder(rows)
    latents, _ = dynamics.observe(
        embeddings, rows["action"], rows["is_first"], dynamics.initial(batch), noise
    )
    return latents
