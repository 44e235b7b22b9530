"""The device computes what the CPU computes: same weights, rows and noise, which is drawn on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.utils._pytree import tree_map

from agents import ActorCriticConfig, AgentConfig, DreamerAgent, OptimizerConfig
from agents.base import rows_on
from benchmarks.gpu.lines import NotRun, Options
from training import prepare_process
from world_model import for_size

CPU = torch.device("cpu")
STEP = torch.tensor(0.0)
"""Environment step of every update."""
SPACE = gymnasium.spaces.Dict(
    {
        "image": gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8),
        "vector": gymnasium.spaces.Box(-9, 9, (4,), np.float32),
    }
)
ACTIONS = 3
CONFIG = AgentConfig(
    model=for_size(
        "tiny", deter=64, hidden=32, units=32, stoch=4, classes=8, depth=4, blocks=4, vector_layers=1
    ),
    behaviour=ActorCriticConfig(imagination=5, layers=1, starts=2, center=True),
    optimizer=OptimizerConfig(lr=1e-3, warmup=2),
)
"""Few samples: a rounding can let one fall otherwise, and the curves then part."""
SEEDS = (0, 1, 2)
LOSSES, GRADIENTS = 1e-4, 1e-3
"""Largest difference of a metric over its size (or 1), and of a gradient's norm over it."""
FIRST, LATER = 0.02, 0.1
"""Mean difference of weights over the mean way they went, after 2 and 20 updates: steps are nearly signs of
gradients, so where a gradient is nothing but rounding, they differ by all of a step."""
EARLY, UPDATES = 2, 20
"""The first update of a warm-up moves nothing."""


def plain_products() -> None:
    """Full fp32 products, as on a CPU."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def make(seed: int, device: torch.device, conv: Any = "strided") -> Any:
    """An agent whose heads expect small values, whose means no rounding tips."""
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, conv=conv))
    agent = DreamerAgent(SPACE, gymnasium.spaces.Discrete(ACTIONS), config, None, seed, device)
    with torch.no_grad():
        for name, value in agent.named_parameters():
            if name.endswith("bias") and value.shape == (255,):
                value.copy_(-0.5 * (torch.arange(255) - 127).abs())
    return agent


def twins(seed: int, device: torch.device, conv: str = "strided") -> tuple[Any, Any]:
    """Agents of equal weights on the CPU and on the device."""
    here, there = make(seed, CPU, conv), make(seed, device, conv)
    there.load_state_dict(here.state_dict())
    return here, there


def batch(seed: int) -> dict[str, np.ndarray]:
    """Random rows (2, 6, ...)."""
    rng, size = np.random.default_rng(seed), (2, 6)
    made: dict[str, np.ndarray] = {
        flag: rng.random(size) < 0.2 for flag in ("is_first", "is_last", "is_terminal")
    }
    made["image"] = rng.integers(0, 256, (*size, 32, 32, 3), np.uint8)
    made["vector"] = rng.normal(size=(*size, 4)).astype(np.float32)
    made["action"] = np.eye(ACTIONS, dtype=np.float32)[rng.integers(ACTIONS, size=size)]
    made["reward"] = rng.normal(size=size).astype(np.float32)
    return made


def moved(noise: Any, device: torch.device) -> Any:
    """Drawn noise on the device; copies, for an update may work in place."""
    return tree_map(lambda value: value.to(device, copy=True), noise)


def losses(options: Options) -> Iterator[dict[str, Any]]:
    """Losses, metrics and gradients, with both kinds of convolutions; two seeds of three must agree."""
    prepare_process(1)
    plain_products()
    for conv in ("strided", "pooled"):
        found = [_losses(seed, torch.device(options.device), conv) for seed in SEEDS]
        metric, gradient = (sorted(pair[at] for pair in found)[1] for at in (0, 1))
        yield {f"{conv} losses": metric, f"{conv} gradients": gradient}
        assert metric <= LOSSES, f"{conv} losses differ by {metric:.2g}, more than {LOSSES}"
        assert gradient <= GRADIENTS, f"{conv} gradients differ by {gradient:.2g}, more than {GRADIENTS}"


def _losses(seed: int, device: torch.device, conv: str) -> tuple[float, float]:
    here, there = twins(seed, device, conv)
    rows = batch(seed)
    noise = here.draw_noise(rows_on(CPU, rows), torch.Generator().manual_seed(seed))
    told = []
    for agent in (here, there):
        total, metrics = agent.losses(
            rows_on(agent.device, rows), moved(noise, agent.device), STEP.to(agent.device)
        )
        total.backward()
        told.append({**metrics, "total": total})
    return difference(*told), _gradients(here, there)


def difference(here: dict[str, torch.Tensor], there: dict[str, torch.Tensor]) -> float:
    """Largest difference of metrics over their size, or over 1."""
    assert here.keys() == there.keys()
    pairs = [(float(value.detach()), float(there[name].detach())) for name, value in here.items()]
    return max(abs(one - two) / max(1.0, abs(one)) for one, two in pairs)


def _gradients(here: Any, there: Any) -> float:
    pairs = dict(there.named_parameters())
    worst = 0.0
    largest = max(float(p.grad.norm()) for p in here.parameters() if p.grad is not None)
    for name, p in here.named_parameters():
        if p.grad is None:
            assert pairs[name].grad is None, f"{name} has a gradient on the device alone"
            continue
        apart = float((p.grad - pairs[name].grad.cpu()).norm())
        # A tensor whose gradient is next to nothing has no digits to compare.
        worst = max(worst, apart / max(float(p.grad.norm()), 1e-4 * largest))
    return worst


def updates(options: Options, mode: str) -> Iterator[dict[str, Any]]:
    """Weights after 2 and after 20 updates in a mode; two seeds of three must agree."""
    if options.rehearsal and mode != "eager":
        raise NotRun(f"a rehearsal makes no {mode} updates")
    prepare_process(1)
    plain_products()
    found = []
    for seed in SEEDS if mode != "compiled" else SEEDS[:1]:  # each compiles anew
        found.append(_updates(seed, torch.device(options.device), mode))
        yield {f"seed {seed}": found[-1]}
    middle = len(found) // 2
    for at, (count, bound) in enumerate(((EARLY, FIRST), (UPDATES, LATER))):
        apart = sorted(pair[at] for pair in found)[middle]
        assert apart <= bound, f"after {count} updates weights differ by {apart:.2g}, more than {bound}"


def _updates(seed: int, device: torch.device, mode: str) -> tuple[float, float]:
    """Mean difference of weights over the mean way they went, after EARLY and UPDATES updates."""
    here, there = twins(seed, device)
    start = {name: value.detach().clone() for name, value in here.named_parameters()}
    if mode != "eager":
        there.run_as(mode)
    generator = torch.Generator().manual_seed(seed)
    hands = [Hand(agent) for agent in (here, there)]
    apart = []
    for number in range(1, UPDATES + 1):
        rows = batch(100 * seed + number % 4)
        drawn = hands[0].plain(rows_on(CPU, rows), generator)
        for agent, hand in zip((here, there), hands, strict=True):
            hand.hold(moved(drawn, agent.device))
            agent.update(rows, 0)
            assert hand.taken, f"a {mode} update draws its noise elsewhere, so none can be handed to it"
        if number in (EARLY, UPDATES):
            apart.append(round(_way_apart(start, here, there), 6))
    return apart[0], apart[1]


class Hand:
    """Hands noise to the updates of an agent in place of what it would draw."""

    def __init__(self, agent: Any) -> None:
        self.plain: Callable = agent.draw_noise
        self.taken = 0
        self._held: Any = None
        agent.draw_noise = self._give

    def hold(self, noise: Any) -> None:
        """Hold the noise of the next update."""
        self._held, self.taken = noise, 0

    def _give(self, *_: Any, **__: Any) -> Any:
        self.taken += 1
        return self._held


def _way_apart(start: dict[str, torch.Tensor], here: Any, there: Any) -> float:
    pairs = dict(there.named_parameters())
    apart, way, count = 0.0, 0.0, 0
    for name, value in here.named_parameters():
        apart += float((value - pairs[name].detach().cpu()).abs().sum())
        way += float((value - start[name]).abs().sum())
        count += value.numel()
    assert way > 0, "the updates moved nothing"
    return apart / way
