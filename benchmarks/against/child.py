"""Run in the root of some revision of ours: does a case's work as often as each line read says.

Arguments: case, mode. Trees from before `run_as` work operation by operation alone.
The first line told says which tree's code runs and with what settings; every other holds the CPU- and wall
seconds of one piece of work.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import agents
from agents import AgentConfig, DreamerAgent
from experiments.settings import agent_preset
from training import prepare_process, to_dict
from world_model import WorldModelConfig

Spaces = dict[str, Any]
ACTIONS = 17
PIXELS: Spaces = {"image": gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)}
VECTORS: Spaces = {"vector": gymnasium.spaces.Box(-10, 10, (32,), np.float32)}


def tiny() -> AgentConfig:
    """The quickstart's agent."""
    return agent_preset("tiny")


def strided() -> AgentConfig:
    """Width M, at which the peers were measured, imagining from every row."""
    model = WorldModelConfig(deter=512, hidden=256, stoch=32, classes=16, units=256, depth=16, conv="strided")
    config = AgentConfig(model=model)
    return dataclasses.replace(config, behaviour=dataclasses.replace(config.behaviour, starts=0))


Case = tuple[Callable[[], AgentConfig], Spaces, str | None, int]
CASES: dict[str, Case] = {
    "tiny-vectors": (tiny, VECTORS, None, 16),
    "tiny-pixels": (tiny, PIXELS, None, 16),
    "tiny-disagreement": (tiny, PIXELS, "disagreement", 16),
    "M-strided": (strided, PIXELS, None, 64),
    "acting": (tiny, PIXELS, None, 1),
}
"""Settings, observations, intrinsic reward, rows in each of 16 sequences; acting has 4 environments."""


def rows(spaces: Spaces, size: tuple[int, ...], task: bool) -> dict[str, np.ndarray]:
    """Random rows, the same in every process."""
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for key, box in spaces.items():
        shape = (*size, *box.shape)
        image = box.dtype == np.uint8
        made[key] = rng.integers(0, 256, shape, np.uint8) if image else rng.normal(size=shape).astype("f4")
    made["action"] = np.eye(ACTIONS, dtype=np.float32)[rng.integers(ACTIONS, size=size)]
    made["is_first"] = rng.random(size) < 0.01
    made["is_last"] = np.zeros(size, bool)
    made["is_terminal"] = np.zeros(size, bool)
    if task:
        made["reward"] = rng.normal(size=size).astype(np.float32)
    return made


def acting(agent: Any, spaces: Spaces) -> Callable[[], None]:
    """A step of 4 environments, which remembers what acting remembers."""
    seen, state = rows(spaces, (4,), task=False), agent.initial_state(4, 0)

    def act() -> None:
        nonlocal state
        _, state, _ = agent.act(seen, state, "train", 0)

    return act


def main() -> None:
    """Build the case and work on demand."""
    case, mode = sys.argv[1:]
    make, spaces, intrinsic, length = CASES[case]
    prepare_process(1)
    config, observed = make(), gymnasium.spaces.Dict(dict(spaces))
    agent: Any = DreamerAgent(
        observed, gymnasium.spaces.Discrete(ACTIONS), config, intrinsic, 0, torch.device("cpu")
    )
    if mode != "eager":
        agent.run_as(mode)
    batch = rows(spaces, (16, length), task=intrinsic is None)
    work = acting(agent, spaces) if case == "acting" else lambda: agent.update(batch)
    root = Path(agents.__file__).parents[1]
    print(json.dumps({"root": str(root.resolve()), "config": to_dict(config)}), flush=True)
    for line in sys.stdin:
        count = int(line)
        began = time.process_time(), time.perf_counter()
        for _ in range(count):
            work()
        spent = time.process_time() - began[0], time.perf_counter() - began[1]
        print(json.dumps([each / count for each in spent]), flush=True)


if __name__ == "__main__":
    main()
