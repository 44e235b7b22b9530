"""A probe: a decoder fitted to frozen latents, so that models without a decoder can be judged and seen."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import torch
from torch import Tensor

from training.judging.evaluation import Check, go_on
from world_model import WorldModel
from world_model.decoder import Decoder

ROWS = 128
"""Rows in a batch."""
LEARNING_RATE = 1e-3
"""Adam's, for every kind and size of model alike."""


def fit_probe(
    model: WorldModel,
    space: gymnasium.spaces.Dict,
    rows: Mapping[str, Tensor],
    updates: int,
    seed: int,
    check: Check = go_on,
) -> Decoder:
    """Fit a fresh decoder to the posterior latents of a model, which learns nothing.

    Weights, latents and batches follow from the seed alone, and no generator of the run is touched.

    Args:
        model: whose latents are decoded.
        space: what was observed.
        rows: sequences (B, T, ...) of observations, on which the probe must not be judged.
        updates: of the decoder.
        seed: of its weights and samples.
        check: called before each update.
    """
    device = rows["action"].device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Decoder(space, model.config).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    features = _frozen_features(model, rows, generator).flatten(0, 1)  # (N, F)
    observations = {key: rows[key].flatten(0, 1) for key in space.spaces}
    optimizer = torch.optim.Adam(probe.parameters(), LEARNING_RATE)
    for _ in range(updates):
        check()
        picks = torch.randint(len(features), (1, ROWS), generator=generator, device=device)
        losses = probe.loss(features[picks], {key: value[picks] for key, value in observations.items()})
        optimizer.zero_grad()
        torch.stack([loss.mean() for loss in losses.values()]).sum().backward()
        optimizer.step()
    return probe


@torch.no_grad()
def _frozen_features(model: WorldModel, rows: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
    """Posterior features (B, T, F)."""
    batch, length = rows["is_first"].shape
    noise = torch.rand(batch, length, model.config.stoch, device=rows["action"].device, generator=generator)
    return model.observe(rows, model.initial(batch), noise)[0].features
