"""How a run is carried out: device, threads, workers, logging."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import get_args

from agents.programs.program import Wish
from envs import VectorEnv, choose_workers, cores, make_vector
from expedition.errors import unknown_name
from expedition.ranges import within
from training.config import RunConfig
from training.logging.artifacts import HOLDS


@dataclasses.dataclass(frozen=True)
class Logistics:
    """How a run is carried out; none of it changes the result (the device and threads: up to rounding)."""

    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of torch; 0 leaves the choice to torch."""
    workers: int = -1
    """Processes that step the environments: 0 for none, -1 for one each of `threads` where a step is slow."""
    replay_store: str = "memory"
    """Where the replay lies: memory, or disk (in the run's folder, beside the chunks of its checkpoints)."""
    wandb: str = "auto"
    """Weights & Biases: auto (online where logged in, else offline), off, offline or online."""
    project: str = "expedition"
    """W&B project."""
    group: str | None = None
    """W&B group: the study."""
    tags: tuple[str, ...] = ()
    """W&B tags."""
    artifact: str = "manifest"
    """What W&B gets of phase 1's last checkpoint: manifest (hashes of all its files), or weights too."""
    progress: bool = True
    """Show a progress bar."""
    compile: Wish = "auto"
    """Compile updates: auto (where it pays), on or off. A run that goes on keeps what it began with."""
    drop_damaged: bool = False
    """Go on without replayed rows that the disk has damaged, and those before them."""

    def __post_init__(self) -> None:
        within(self, "", "threads", least=0)
        within(self, "", "workers", least=-1)
        if self.compile not in get_args(Wish):
            raise unknown_name("choice of --compile", self.compile, get_args(Wish))
        if self.replay_store not in ("memory", "disk"):
            raise unknown_name("replay store", self.replay_store, ["memory", "disk"])
        if self.artifact not in HOLDS:
            raise unknown_name("choice of --artifact", self.artifact, HOLDS)


def env_factory(
    config: RunConfig, logistics: Logistics, captions: bool = False
) -> Callable[[int], VectorEnv]:
    """Return what makes a run's environments: called with their number, it gives a `VectorEnv` of its own.

    With `captions` they tell in words what happens.
    """
    workers = logistics.workers
    if workers < 0:
        workers = choose_workers(config.env, logistics.threads or cores())
    size = config.training.image_size
    return functools.partial(make_vector, config.env, image_size=size, workers=workers, captions=captions)
