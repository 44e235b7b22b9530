"""Run by an interpreter that has sheeprl 0.8.4: an update for each line read, whose cost it tells.

Arguments: number of mlp layers. It imports nothing of ours, since the two need different packages.
"""

import resource
import sys
import time

import gymnasium as gym
import hydra
import numpy as np
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v3.agent import build_agent
from sheeprl.algos.dreamer_v3.dreamer_v3 import train
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.utils.utils import dotdict

BATCH, LENGTH, ACTIONS = 16, 64, 17
WIDTHS = (
    "exp=dreamer_v3",
    "env=dummy",
    "algo=dreamer_v3_XS",
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
    torch.set_num_threads(1)
    with hydra.initialize_config_module("sheeprl.configs", version_base="1.3"):
        overrides = [*WIDTHS, f"algo.mlp_layers={sys.argv[1]}"]
        cfg = dotdict(OmegaConf.to_container(hydra.compose("config", overrides), resolve=True))
    fabric = Fabric(accelerator="cpu", devices=1)
    space = gym.spaces.Dict({"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)})
    world_model, actor, critic, target, _ = build_agent(fabric, [ACTIONS], False, cfg, space)
    settings = (cfg.algo.world_model.optimizer, cfg.algo.actor.optimizer, cfg.algo.critic.optimizer)
    optimizers = [
        hydra.utils.instantiate(setting, params=part.parameters(), _convert_="all")
        for setting, part in zip(settings, (world_model, actor, critic), strict=True)
    ]
    optimizers = fabric.setup_optimizers(*optimizers)
    limits = cfg.algo.actor.moments
    moments = Moments(limits.decay, limits.max, limits.percentile.low, limits.percentile.high)
    data = batch()
    count = sum(p.numel() for part in (world_model, actor, critic) for p in part.parameters())
    print(count, flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        copies = {key: value.clone() for key, value in data.items()}
        train(
            fabric,
            world_model,
            actor,
            critic,
            target,
            *optimizers,
            copies,
            None,
            cfg,
            False,
            [ACTIONS],
            moments,
        )
        spent = time.process_time() - began
        print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


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
