"""Run by an interpreter that r2dreamer runs on: an update for each line read, whose cost it tells.

Arguments: the folder of r2dreamer's clone, and `cuda` for a GPU. It imports nothing of ours, since the two
need different packages. The peer always computes under autocast to fp16; on the CPU it is turned off. There
the caller must hide every GPU (CUDA_VISIBLE_DEVICES=""), else the peer scales its loss for fp16. On a GPU it
compiles its update, as it does by default. Told are CPU-seconds, peak bytes and wall seconds.
"""

import functools
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import torch
from tensordict import TensorDict

CUDA = sys.argv[2:] == ["cuda"]
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
    f"model.compile={CUDA}",
    f"device={'cuda' if CUDA else 'cpu'}",
)


def main() -> None:
    """Build the agent at width M and update it on demand."""
    assert CUDA or not torch.cuda.is_available(), "hide the GPU by CUDA_VISIBLE_DEVICES"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    agent = build(Path(sys.argv[1]).resolve())
    replay = FixedReplay(agent)
    print(sum(p.numel() for p in agent.parameters() if p.requires_grad), flush=True)
    for _ in sys.stdin:
        began = time.process_time(), time.perf_counter()
        agent.update(replay)
        if CUDA:
            torch.cuda.synchronize()
        cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
        print(cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, wall, flush=True)


def build(folder: Path) -> Any:
    """The agent for 64 x 64 x 3 pixels and 17 discrete actions."""
    sys.path.insert(0, str(folder))
    import dreamer

    if not CUDA:
        dreamer.autocast = functools.partial(torch.autocast, enabled=False)
    with hydra.initialize_config_dir(str(folder / "configs"), version_base=None):
        config = hydra.compose("configs", list(SETTINGS))
    observations = SimpleNamespace(spaces={"image": SimpleNamespace(shape=(64, 64, 3))})
    agent = dreamer.Dreamer(config.model, observations, SimpleNamespace(n=ACTIONS, discrete=True))
    return agent.to("cuda") if CUDA else agent


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
        self.rows = TensorDict(rows, batch_size=size, device="cuda" if CUDA else None)
        self.initial = agent.rssm.initial(BATCH)

    def sample(self) -> tuple[TensorDict, None, tuple[torch.Tensor, torch.Tensor]]:
        """Rows, where they lay, and the latents before them; the peer writes into the mapping of the rows."""
        return self.rows.clone(recurse=False), None, self.initial

    def update(self, index: None, stoch: torch.Tensor, deter: torch.Tensor) -> None:
        """Latents are not kept."""


if __name__ == "__main__":
    main()
