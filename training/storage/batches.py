"""From the replay to the learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from envs import TASK
from training.storage.replay import Replay

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def learner_view(batch: Mapping[str, Array]) -> dict[str, Array]:
    """The part of a replayed batch that may reach the learner."""
    return {key: value for key, value in batch.items() if not key.startswith(TASK)}


def draw(
    replay: Replay, batch: int, length: int, rng: np.random.Generator, device: torch.device
) -> dict[str, Any]:
    """Draw what the learner may see of `batch` sequences of `length` rows, (B, T, ...).

    For a GPU they are copied from pinned memory, which does not wait: while one update is computed, the next
    batch is drawn and sent. Torch keeps the pinned memory until the copy is made.
    """
    if device.type != "cuda":
        return learner_view(replay.sample(batch, length, rng))
    pinned = {
        name: torch.empty((batch, length, *shape), dtype=_torch_dtype(dtype), pin_memory=True)
        for name, (shape, dtype) in replay.row_spec.items()
    }
    replay.sample(batch, length, rng, out={name: tensor.numpy() for name, tensor in pinned.items()})
    return {name: tensor.to(device, non_blocking=True) for name, tensor in learner_view(pinned).items()}


def _torch_dtype(dtype: np.dtype) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
