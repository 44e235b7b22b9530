"""True simulators: environments that can be set back to an earlier moment, for planners to search in."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, cast

import gymnasium
import numpy as np

from envs.registry import make
from envs.stepping.vector import SerialVectorEnv, VectorEnv
from expedition import UserError


class Cloneable(Protocol):
    """What an environment offers that can be set back."""

    def clone(self) -> Any:
        """The present moment: all that the future depends on."""

    def restore(self, state: Any, seed: int | None = None) -> Any:
        """Go on from a moment; a seed draws what is chance from then on anew."""


class Branch(NamedTuple):
    """A moment in a simulator, and whether its episode goes on."""

    state: Any
    goes_on: bool


class Simulator:
    """One environment in which moments of others are played out; those do not move.

    Args:
        env_id: an id for `make`.
        image_size: height and width of pictures, in pixels.

    Raises:
        UserError: the environment cannot be set back.
    """

    def __init__(self, env_id: str, image_size: int = 64) -> None:
        self._env = make(env_id, image_size=image_size)
        self._inner = cloneable(self._env, env_id)
        self._env.reset(seed=0)  # wrappers want one before the first step

    def step(
        self, branch: Branch, action: Any, seed: int
    ) -> tuple[Branch, dict[str, np.ndarray], float, bool]:
        """Play one action from a moment that goes on.

        Args:
            branch: from `branches` or an earlier step.
            action: the environment's.
            seed: of what is chance; the planner does not know what the environment will draw.

        Returns:
            The moment after it, what is observed there, the reward, and whether the episode has ended there
            for good (not merely been cut off).
        """
        self._inner.restore(branch.state, seed)
        observation, reward, terminated, truncated, _ = self._env.step(action)
        after = Branch(self._inner.clone(), not (terminated or truncated))
        return after, observation, float(reward), bool(terminated)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def cloneable(env: gymnasium.Env[Any, Any], env_id: str) -> Cloneable:
    """What of an environment can be set back.

    Raises:
        UserError: nothing.
    """
    inner = env.unwrapped
    if not (hasattr(inner, "clone") and hasattr(inner, "restore")):
        raise UserError(
            f"'{env_id}' has no true simulator to search in, for it cannot be set back to an earlier moment: "
            "search in the model, or choose mazes, minipacman, go or construction."
        )
    return cast(Cloneable, inner)


def branches(envs: VectorEnv, env_id: str) -> list[Branch]:
    """The present moment of each environment.

    Raises:
        UserError: they cannot be set back, or live in workers.
    """
    if not isinstance(envs, SerialVectorEnv):
        raise UserError(f"'{env_id}' is stepped in workers, which no planner can look into: set --workers 0.")
    return [Branch(cloneable(lane.env, env_id).clone(), not lane.ended) for lane in envs.lanes]
