"""Where the forms written for a CPU are used: elsewhere the library's serve better."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_cpu(tensor: Tensor) -> bool:
    """Whether operations run one by one on a CPU: neither compiled nor for many seeds at once."""
    if tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return not torch._C._functorch.is_batchedtensor(tensor)


def plain_fp32(tensor: Tensor) -> bool:
    """The same in fp32."""
    return plain_cpu(tensor) and tensor.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
