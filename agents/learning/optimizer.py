"""LaProp with adaptive gradient clipping, DreamerV3's optimiser."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class LaProp(torch.optim.Optimizer):
    """LaProp (Ziyin et al. 2020, alg. 1): the gradient is normalised first, then averaged.

    Before that, the gradient of each tensor is clipped to `clip` times the norm of the tensor
    (adaptive gradient clipping, Brock et al. 2021, by tensor as in DreamerV3). A tensor that never
    had a gradient is left alone.

    Args:
        params: parameters or groups.
        lr: learning rate after warm-up.
        betas: decay of the averaged step and of the squared gradient.
        eps: added to the root of the squared gradient.
        clip: largest ratio of gradient norm to parameter norm; 0 switches clipping off.
        min_norm: parameter norms below this count as this.
        warmup: steps over which the learning rate rises linearly from zero.
    """

    # As torch has them, but for a wrapper that imports its compiler: two seconds of every eager run's start.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        clip: float = 0.3,
        min_norm: float = 1e-3,
        warmup: int = 0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "clip": clip,
            "min_norm": min_norm,
            "warmup": warmup,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one update from the gradients at hand."""
        assert closure is None, "LaProp takes no closure"
        step_together([self])


@torch.no_grad()
def step_together(optimizers: Sequence[LaProp]) -> None:
    """Make one update with each of several optimisers of equal settings, in the launches of one."""
    for groups in zip(*(optimizer.param_groups for optimizer in optimizers), strict=True):
        params, states = [], []
        for optimizer, group in zip(optimizers, groups, strict=True):
            learning = [p for p in group["params"] if p.grad is not None]
            params += learning
            states += [optimizer.state[p] for p in learning]
        if params:
            _step_group(groups[0], params, states)


def _step_group(group: dict[str, Any], params: list[Tensor], states: list[dict[str, Tensor]]) -> None:
    beta1, beta2 = group["betas"]
    grads = clip_to_parameters(
        params, [p.grad for p in params if p.grad is not None], group["clip"], group["min_norm"]
    )
    for p, state in zip(params, states, strict=True):
        if not state:
            step = torch.zeros((), dtype=torch.float64, device=p.device)
            state |= {"step": step, "square": torch.zeros_like(p), "mean": torch.zeros_like(p)}
    steps, squares, means = ([state[name] for state in states] for name in ("step", "square", "mean"))
    torch._foreach_add_(steps, 1.0)
    count = torch.stack(steps)  # a component that thaws begins its own
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
    roots = torch._foreach_sqrt(torch._foreach_div(squares, (1 - beta2**count).unbind()))
    torch._foreach_add_(roots, group["eps"])
    torch._foreach_lerp_(means, torch._foreach_div(grads, roots), 1 - beta1)
    # A warm-up counts from zero, as DreamerV3's schedule does: its first step moves nothing.
    rate = group["lr"] * ((count - 1) / group["warmup"]).clamp_max(1.0) if group["warmup"] else group["lr"]
    scales = (-rate / (1 - beta1**count)).unbind()
    torch._foreach_add_(params, torch._foreach_mul(means, scales))


def clip_to_parameters(
    params: list[Tensor], grads: list[Tensor], clip: float, min_norm: float
) -> list[Tensor]:
    """Scale each gradient so that its norm is at most `clip * max(min_norm, norm of its parameter)`."""
    if clip <= 0:
        return grads
    grad_norms = torch.stack(torch._foreach_norm(grads))
    bounds = clip * torch.stack(torch._foreach_norm(params)).clamp_min(min_norm)
    factors = 1 / (grad_norms / bounds).clamp_min(1.0)
    return list(torch._foreach_mul(grads, list(factors.unbind())))
