"""Whether embeddings have collapsed: in how many directions they spread."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_rank(embeddings: Tensor) -> Tensor:
    """Effective rank: exp of the entropy of the singular values' shares of their sum, ().

    Of embeddings (N, E), N times the same gives 1, and N orthogonal ones of equal length give N. Roy and
    Vetterli 2007, The effective rank: a measure of effective dimensionality, EUSIPCO.
    """
    values = torch.linalg.svdvals(embeddings.float())
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp()
