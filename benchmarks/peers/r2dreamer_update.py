"""Run by an interpreter that r2dreamer runs on: an update for each line read, whose cost it tells.

Argument: the folder of r2dreamer's clone. It imports nothing of ours, since the two need different packages.
The peer always computes under autocast to fp16; here autocast is turned off.
"""

import functools
import os
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else its loss is scaled for fp16

import hydra
import torch
from tensordict import TensorDict

BATCH, LENGTH, ACTIONS = 16, 64, 17
SETTINGS = (
    "env=atari100k",  # no more than the names of the observations
    "model=size12M",
    "model.deter=512",
    "model.hidden=256",
    "model.units=256",
    "model.discrete=16",
    "model.depth=16",
    "model.rssm.stoch=32",
    "model.imag_horizon=15",
    "model.rep_loss=dreamer",  # its decoder
    "model.compile=False",
    "device=cpu",
)


def main() -> None:
    """Build the agent at width M and update it on demand."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    agent = build(Path(sys.argv[1]).resolve())
    replay = FixedReplay(agent)
    print(sum(p.numel() for p in agent.parameters() if p.requires_grad), flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        agent.update(replay)
        spent = time.process_time() - began
        print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)


def build(folder: Path) -> Any:
    """The agent for 64 x 64 x 3 pixels and 17 discrete actions."""
    sys.path.insert(0, str(folder))
    import dreamer

    dreamer.autocast = functools.partial(torch.autocast, enabled=False)
    with hydra.initialize_config_dir(str(folder / "configs"), version_base=None):
        config = hydra.compose("configs", list(SETTINGS))
    observations = SimpleNamespace(spaces={"image": SimpleNamespace(shape=(64, 64, 3))})
    return dreamer.Dreamer(config.model, observations, SimpleNamespace(n=ACTIONS, discrete=True))


class FixedReplay:
    """Stands in for the peer's replay buffer: the same random rows (B, T, ...) in every call."""

    def __init__(self, agent: Any) -> None:
        size = (BATCH, LENGTH)
        actions = torch.randint(ACTIONS, size)
        rows = {
            "image": torch.randint(0, 256, (*size, 64, 64, 3), dtype=torch.uint8),
            "action": torch.nn.functional.one_hot(actions, ACTIONS).float(),
            "reward": torch.randn(*size, 1),
            "is_first": torch.rand(*size, 1) < 0.01,
            "is_last": torch.zeros(*size, 1, dtype=torch.bool),
            "is_terminal": torch.zeros(*size, 1, dtype=torch.bool),
        }
        self.rows = TensorDict(rows, batch_size=size)
        self.initial = agent.rssm.initial(BATCH)

    def sample(self) -> tuple[TensorDict, None, tuple[torch.Tensor, torch.Tensor]]:
        """Rows, where they lay, and the latents before them; the peer writes into the mapping of the rows."""
        return self.rows.clone(recurse=False), None, self.initial

    def update(self, index: None, stoch: torch.Tensor, deter: torch.Tensor) -> None:
        """Latents are not kept."""


if __name__ == "__main__":
    main()
