"""The true environment in the place of the model: what search is worth with nothing to misremember."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents import DreamerAgent
from agents.search import Evaluation, ImaginedModel, Plan, Planner, SearchConfig, Step
from envs import Branch, Simulator, VectorEnv, branches
from world_model import Latent, to_env_actions

SEEDS = 2**31


class Simulated(NamedTuple):
    """Moments by their numbers, and what the agent would know in each."""

    number: Tensor
    """(N,) whole numbers."""
    latent: Latent
    """(N, ...)."""


class SimulatedModel:
    """A `SearchModel` whose steps are the environment's; actor and critic judge as ever.

    Args:
        agent: filters what the simulator shows, and judges.
        simulator: plays moments out.
    """

    def __init__(self, agent: DreamerAgent, simulator: Simulator) -> None:
        self.world_model, self.action_space = agent.world_model, agent.action_space
        self.simulator = simulator
        self.variables = self.world_model.config.stoch
        self._judge = ImaginedModel(agent.world_model, agent.behaviour)
        self._moments: list[Branch] = []

    def begin(self, moments: list[Branch], latent: Latent) -> Simulated:
        """Where to search from: N moments and the latents (N, ...) of those who live them."""
        self._moments = list(moments)
        return Simulated(torch.arange(len(moments), device=latent.deter.device), latent)

    @torch.no_grad()
    def step(self, state: Simulated, action: Tensor, noise: Tensor) -> Step:
        """Play `action` (N, A); an episode that has ended stays where it is, and pays nothing."""
        moves = to_env_actions(action.float().cpu().numpy(), self.action_space)
        seeds = (noise[:, 0] * SEEDS).long().tolist()
        before = [self._moments[number] for number in state.number.tolist()]
        going = [i for i, moment in enumerate(before) if moment.goes_on]
        numbers, reward, discount = state.number.clone(), torch.zeros(len(moves)), torch.zeros(len(moves))
        seen: list[Any] = []
        for i in going:
            move = moves[i].item() if moves[i].ndim == 0 else moves[i]
            moment, observation, gain, terminal = self.simulator.step(before[i], move, seeds[i])
            numbers[i], reward[i] = len(self._moments), gain
            discount[i] = 0.0 if terminal else self.world_model.config.discount
            self._moments.append(moment)
            seen.append(observation)
        device = action.device
        latent = self._filtered(state.latent, torch.tensor(going, device=device), seen, action, noise)
        return Step(Simulated(numbers, latent), reward.to(device), discount.to(device))

    def evaluate(self, state: Simulated, choices: Tensor) -> Evaluation:
        """Ask actor and critic."""
        return self._judge.evaluate(state.latent, choices)

    def _filtered(
        self, latent: Latent, going: Tensor, seen: list[Any], action: Tensor, noise: Tensor
    ) -> Latent:
        """The latents (N, ...) after what was `seen` in those that go on."""
        if not seen:
            return latent
        batch = {key: torch.as_tensor(np.stack([x[key] for x in seen]))[:, None] for key in seen[0]}
        batch = {key: value.to(action.device) for key, value in batch.items()}
        batch |= {
            "action": action[going][:, None],
            "is_first": torch.zeros_like(going, dtype=torch.bool)[:, None],
        }
        after, _, _ = self.world_model.observe(batch, latent.map(lambda x: x[going]), noise[going][:, None])
        parts = zip(latent, after, strict=True)
        return Latent(*(old.index_copy(0, going, new[:, 0]) for old, new in parts))


class SimulatorPlanner:
    """A `Planner` that searches from the present moments of environments.

    Args:
        agent: who is judged.
        search: settings.
        env_id: of the environments, which must be such as can be set back.
        image_size: height and width of pictures, in pixels.
    """

    def __init__(self, agent: DreamerAgent, search: SearchConfig, env_id: str, image_size: int) -> None:
        self._env_id = env_id
        self.model = SimulatedModel(agent, Simulator(env_id, image_size))
        self._planner: Planner = agent.planner(search, self.model)
        self._envs: VectorEnv | None = None

    def followed(self, make_envs: Callable[[int], VectorEnv]) -> Callable[[int], VectorEnv]:
        """What makes environments, from whose present moments is searched from then on."""

        def make(count: int) -> VectorEnv:
            self._envs = make_envs(count)
            return self._envs

        return make

    def draw_noise(self, count: int, generator: torch.Generator) -> Any:
        """As that of the search."""
        return self._planner.draw_noise(count, generator)

    def plan(self, state: Latent, noise: Any, greedy: bool = False) -> Plan:
        """Plan for the environments, whose latents are `state` (N, ...)."""
        assert self._envs is not None
        start = self.model.begin(branches(self._envs, self._env_id), state)
        return self._planner.plan(start, noise, greedy)


@contextlib.contextmanager
def simulating(
    agent: DreamerAgent, search: SearchConfig, env_id: str, image_size: int
) -> Iterator[SimulatorPlanner]:
    """Judge an agent with a planner in the true environment; arguments as those of `SimulatorPlanner`."""
    planner = SimulatorPlanner(agent, search, env_id, image_size)
    try:
        with agent.judged_with(planner):
            yield planner
    finally:
        planner.model.simulator.close()
