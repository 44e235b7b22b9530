"""Cost of planning: `python -m benchmarks.search --part share|tree|acting`.

`share`: what the network's evaluations take of a search. `tree`: the tree's own work beside mctx's (in the
extra `dev`), with a network of no work. `acting`: steps a second of 4 environments, their own time left out.
CPU-seconds of one thread, in turns; everything is compiled unless `--eager`.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents import AgentConfig, DreamerAgent
from agents.programs.compiler import compiled
from agents.search import Evaluation, GumbelConfig, GumbelPlanner, ImaginedModel, Step
from benchmarks.table import show
from benchmarks.update import ACTIONS, spaces
from training import prepare_process
from world_model import for_size

SPACE = gymnasium.spaces.Discrete(ACTIONS)
BATCH, SIMULATIONS, DEPTH = 64, 16, 5
TREES = ((ACTIONS, 16, 5), (ACTIONS, 50, 5), (4, 16, 5))
"""Actions, simulations and depth at which the tree's work is compared."""
ENVS = 4


class Trivial:
    """A network of no work: a state is a row of A numbers, which are logits too."""

    variables = 0

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Step:
        """Stay, for a reward."""
        return Step(state, state[:, 0], torch.full_like(state[:, 0], 0.99))

    def evaluate(self, state: Tensor, choices: Tensor) -> Evaluation:
        """Read the numbers."""
        return Evaluation(state, state.mean(-1), None)


def in_turns(work: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Median CPU-milliseconds of each piece of work."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for function in work.values():
        for _ in range(3):  # compiles, and takes its memory
            function()
    for _ in range(turns):
        for name, function in work.items():
            began = time.process_time()
            function()
            spent[name].append(1000 * (time.process_time() - began))
    return {name: statistics.median(times) for name, times in spent.items()}


def planner_of(config: GumbelConfig, model: Any, space: gymnasium.Space, eager: bool) -> GumbelPlanner:
    """A planner, its regions compiled."""
    planner: Any = GumbelPlanner(config, model, space)
    if not eager:
        planner.begin, planner.simulate = compiled(planner.begin), compiled(planner.simulate)
    return planner


def agent_of(size: str) -> DreamerAgent:
    """An agent that sees 32 numbers."""
    config = AgentConfig(model=for_size(size))
    return DreamerAgent(spaces("vector"), SPACE, config, None, 0, torch.device("cpu"))


def share(arguments: argparse.Namespace) -> dict[str, Any]:
    """A whole search, and its evaluations of the network alone: as many, of as many rows."""
    agent = agent_of("1m")
    found: dict[str, float] = {}
    model: Any = ImaginedModel(agent.world_model, agent.behaviour)
    latent = agent.world_model.initial(BATCH)
    for simulations in (SIMULATIONS, 50):
        config = GumbelConfig(simulations=simulations, depth=DEPTH)
        planner = planner_of(config, model, SPACE, arguments.eager)
        noise = planner.draw_noise(BATCH, torch.Generator().manual_seed(0))
        evaluate = model.evaluate if arguments.eager else compiled(model.evaluate)

        def expand(state: Any, action: Tensor, chance: Tensor) -> Any:
            following = model.step(state, action, chance)
            return following, model.evaluate(following.state, chance[:, :0])

        expand = expand if arguments.eager else compiled(expand)
        wide = latent.map(lambda x: x.repeat(planner.first, *[1] * (x.dim() - 1)))  # noqa: B023
        action = torch.eye(ACTIONS)[torch.arange(BATCH) % ACTIONS]

        @torch.no_grad()
        def network() -> None:
            evaluate(latent, noise.choices[0])  # noqa: B023
            expand(wide, action.repeat(planner.first, 1), noise.chances[: planner.first].flatten(0, 1))  # noqa: B023
            for chance in noise.chances[planner.first :]:  # noqa: B023
                expand(latent, action, chance)  # noqa: B023

        work = {"search": lambda: planner.plan(latent, noise), "network": network}  # noqa: B023
        times = in_turns(work, arguments.turns)
        found |= {f"{name}_{simulations}_ms": value for name, value in times.items()}
        found[f"network_share_{simulations}"] = times["network"] / times["search"]
    return found


def tree(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same search by ours and by mctx."""
    found: dict[str, float] = {}
    for actions, simulations, depth in TREES:
        config = GumbelConfig(simulations=simulations, depth=depth)
        planner = planner_of(config, Trivial(), gymnasium.spaces.Discrete(actions), arguments.eager)
        state = torch.randn(BATCH, actions, generator=torch.Generator().manual_seed(0))
        noise = planner.draw_noise(BATCH, torch.Generator().manual_seed(0))
        work = {"ours": lambda: planner.plan(state, noise), "mctx": by_mctx(config, state)}  # noqa: B023
        times = in_turns(work, arguments.turns)
        case = f"{actions}_actions_{simulations}_simulations"
        found |= {f"{name}_{case}_ms": value for name, value in times.items()}
        found[f"over_mctx_{case}"] = times["ours"] / times["mctx"]
    return found


def by_mctx(config: GumbelConfig, state: Tensor) -> Callable[[], Any]:
    """The same search, compiled as a whole."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    import jax
    import mctx

    def step(params: Any, key: Any, action: Any, rows: Any) -> Any:
        output = mctx.RecurrentFnOutput(
            reward=rows[:, 0], discount=0 * rows[:, 0] + 0.99, prior_logits=rows, value=rows.mean(-1)
        )
        return output, rows

    @jax.jit
    def search(key: Any, rows: Any) -> Any:
        root = mctx.RootFnOutput(prior_logits=rows, value=rows.mean(-1), embedding=rows)
        output = mctx.gumbel_muzero_policy(
            (),
            key,
            root,
            step,
            config.simulations,
            max_depth=config.depth,
            max_num_considered_actions=config.considered,
        )
        return output.action, output.action_weights

    key, rows = jax.random.PRNGKey(0), jax.numpy.asarray(state.numpy())
    return lambda: jax.block_until_ready(search(key, rows))


def acting(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps a second by the prior alone and with searches from the latents that it acts on."""
    agent = agent_of("tiny")
    if not arguments.eager:
        agent.run_as("compiled")
    rows = {"vector": np.zeros((ENVS, 32), np.float32), "is_first": np.zeros(ENVS, bool)}
    state, model = agent.initial_state(ENVS, 0), ImaginedModel(agent.world_model, agent.behaviour)

    def act(planner: GumbelPlanner | None) -> None:
        _, after, _ = agent.act(rows, state, "train")
        if planner is not None:
            planner.plan(after.latent, planner.draw_noise(ENVS, state.generator))

    work: dict[str, Callable[[], Any]] = {"0": functools.partial(act, None)}
    for simulations in (4, 8, 16, 50):
        config = GumbelConfig(simulations=simulations, depth=DEPTH)
        planner = planner_of(config, model, SPACE, arguments.eager)
        work[str(simulations)] = functools.partial(act, planner)
    times = in_turns(work, arguments.turns)
    return {f"steps_per_second_{name}": 1000 * ENVS / value for name, value in times.items()}


PARTS = {"share": share, "tree": tree, "acting": acting}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", default="share", choices=list(PARTS))
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare_process(1)
    show({"eager": arguments.eager, **PARTS[arguments.part](arguments)}, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
