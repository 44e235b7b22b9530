"""Run by an interpreter that has sheeprl 0.8.4: an update for each line read, whose cost it tells.

Arguments: algorithm, number of mlp layers. It imports nothing of ours, since the two need different packages.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import hydra
import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v3.agent import build_agent
from sheeprl.algos.dreamer_v3.dreamer_v3 import train
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.algos.p2e_dv3 import agent as p2e_agent
from sheeprl.algos.p2e_dv3 import p2e_dv3_exploration as p2e_exploration
from sheeprl.utils.utils import dotdict

BATCH, LENGTH, ACTIONS = 16, 64, 17
EXPERIMENT = {"dreamer_v3": "exp=dreamer_v3", "p2e_dv3": "exp=p2e_dv3_exploration"}
WIDTHS = (
    "env=dummy",
    "algo.cnn_keys.encoder=[rgb]",
    "algo.mlp_keys.encoder=[]",
    "algo.per_rank_batch_size=16",
    "algo.per_rank_sequence_length=64",
    "algo.dense_units=256",
    "algo.world_model.encoder.cnn_channels_multiplier=16",
    "algo.world_model.recurrent_model.recurrent_state_size=512",
    "algo.world_model.transition_model.hidden_size=256",
    "algo.world_model.representation_model.hidden_size=256",
    "algo.world_model.stochastic_size=32",
    "algo.world_model.discrete_size=16",
    "metric.log_level=0",
)


def main() -> None:
    """Build the agent at width M and update it on demand."""
    algorithm, layers = sys.argv[1:]
    torch.set_num_threads(1)
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        overrides = [EXPERIMENT[algorithm], *WIDTHS, f"algo.mlp_layers={layers}"]
        cfg = dotdict(OmegaConf.to_container(hydra.compose("config", overrides), resolve=True))
    fabric = Fabric(accelerator="cpu", devices=1)
    space = gym.spaces.Dict({"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)})
    count, update = {"dreamer_v3": dreamer, "p2e_dv3": explorer}[algorithm](fabric, cfg, space)
    data = batch()
    print(count, flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        update({key: value.clone() for key, value in data.items()})
        spent = time.process_time() - began
        print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


def dreamer(fabric: Fabric, cfg: Any, space: gym.spaces.Dict) -> tuple[int, Callable[[dict], None]]:
    """Number of parameters and an update of DreamerV3."""
    world_model, actor, critic, target, _ = build_agent(fabric, [ACTIONS], False, cfg, space)
    parts = (world_model, actor, critic)
    world = optimizer(fabric, cfg.algo.world_model, world_model)
    others = optimizer(fabric, cfg.algo.actor, actor), optimizer(fabric, cfg.algo.critic, critic)
    limits = moments(cfg)

    def update(data: dict) -> None:
        train(fabric, *parts, target, world, *others, data, None, cfg, False, [ACTIONS], limits)

    return parameters(*parts), update


def explorer(fabric: Fabric, cfg: Any, space: gym.spaces.Dict) -> tuple[int, Callable[[dict], None]]:
    """Number of parameters and an update of Plan2Explore, which learns the task beside it."""
    world_model, ensembles, actor, critic, target, exploring, critics, _ = p2e_agent.build_agent(
        fabric, [ACTIONS], False, cfg, space
    )
    for each in critics.values():
        each["optimizer"] = optimizer(fabric, cfg.algo.critic, each["module"])
    world = optimizer(fabric, cfg.algo.world_model, world_model)
    task = optimizer(fabric, cfg.algo.actor, actor), optimizer(fabric, cfg.algo.critic, critic)
    ensemble, explore = (
        optimizer(fabric, cfg.algo.ensembles, ensembles),
        optimizer(fabric, cfg.algo.actor, exploring),
    )
    limits = {name: moments(cfg) for name in critics}, moments(cfg)

    def update(data: dict) -> None:
        p2e_exploration.train(
            fabric, world_model, actor, critic, target, world, *task, data, None, cfg, ensembles, ensemble,
            exploring, critics, explore, *limits, False, [ACTIONS],
        )  # fmt: skip

    modules = [each["module"] for each in critics.values()]
    return parameters(world_model, ensembles, actor, critic, exploring, *modules), update


def optimizer(fabric: Fabric, settings: Any, module: torch.nn.Module) -> Any:
    """The optimiser that `settings` name."""
    made = hydra.utils.instantiate(settings.optimizer, params=module.parameters(), _convert_="all")
    return fabric.setup_optimizers(made)


def moments(cfg: Any) -> Moments:
    """Percentiles of the returns."""
    limits = cfg.algo.actor.moments
    return Moments(limits.decay, limits.max, limits.percentile.low, limits.percentile.high)


def parameters(*modules: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


def batch() -> dict[str, torch.Tensor]:
    """Random rows (T, B, ...)."""
    rng = np.random.default_rng(0)
    one_hot = np.eye(ACTIONS, dtype=np.float32)[rng.integers(ACTIONS, size=(LENGTH, BATCH))]
    return {
        "rgb": torch.as_tensor(rng.integers(0, 256, (LENGTH, BATCH, 3, 64, 64)).astype(np.float32)),
        "actions": torch.as_tensor(one_hot),
        "rewards": torch.as_tensor(rng.normal(size=(LENGTH, BATCH, 1)).astype(np.float32)),
        "terminated": torch.zeros(LENGTH, BATCH, 1),
        "truncated": torch.zeros(LENGTH, BATCH, 1),
        "is_first": torch.zeros(LENGTH, BATCH, 1),
    }


if __name__ == "__main__":
    main()
