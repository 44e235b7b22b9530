"""What dm_control lacks: URLB's tasks, a quadruped that loads with numpy 2.4, drawing beside other renderers.

Importing this needs dm_control, and a renderer.
"""

from typing import Any

import numpy as np
from dm_control import mujoco, suite
from dm_control.rl import control
from dm_control.suite import base, common, quadruped, walker
from dm_control.utils import rewards

Camera = mujoco.Camera

_INFINITY = float("inf")
_WALKER_TIME = {"time_limit": 25, "control_timestep": 0.025}  # seconds, as in the package
_QUADRUPED_TIME = {"time_limit": 20, "control_timestep": 0.02}

# What `quadruped.make_model` is given. A floor is as long as the task's speed takes the robot in an episode;
# those of stand and jump are as long as that of walk, as in URLB. It's a plane: only its picture ends.
_QUADRUPED_MODELS: dict[str, dict[str, Any]] = {
    "stand": {"floor_size": 10},
    "walk": {"floor_size": 10},
    "run": {"floor_size": 100},
    "jump": {"floor_size": 10},
    "escape": {"floor_size": 40, "terrain": True, "rangefinders": True},
    "fetch": {"walls_and_ball": True},
}


class Flip(walker.PlanarWalker):
    """URLB's walker flip: turn over and over.

    Reward: stand * (5 * spin + 1) / 6, where `stand` is the reward of the task stand, and `spin` grows
    linearly with the body's angular momentum about the y-axis, from 0 to 1 at 5 kg m^2/s.
    """

    def __init__(self) -> None:
        super().__init__(move_speed=0)

    def get_reward(self, physics: walker.Physics) -> float:
        """Return the reward, 0 to 1."""
        stand = super().get_reward(physics)
        momentum = physics.named.data.subtree_angmom["torso", "y"]
        spin = rewards.tolerance(momentum, (5, _INFINITY), margin=5, value_at_margin=0, sigmoid="linear")
        return stand * (5 * spin + 1) / 6


class Stand(quadruped.Move):
    """URLB's quadruped stand: reward 0 upside down to 1 upright, linear in the cosine between."""

    def __init__(self) -> None:
        super().__init__(desired_speed=0)

    def get_reward(self, physics: quadruped.Physics) -> float:
        """Return the reward, 0 to 1."""
        upright = physics.torso_upright()
        return rewards.tolerance(upright, (1, _INFINITY), margin=2, value_at_margin=0, sigmoid="linear")


class Jump(Stand):
    """URLB's quadruped jump: the centre of mass at a height of 1 metre or more.

    Reward: stand * height, where `height` grows linearly from 0.5 on the ground to 1 at 1 metre.
    """

    def get_reward(self, physics: quadruped.Physics) -> float:
        """Return the reward, 0 to 1."""
        height = physics.named.data.sensordata["center_of_mass"][2]
        up = rewards.tolerance(height, (1, _INFINITY), margin=1, value_at_margin=0.5, sigmoid="linear")
        return super().get_reward(physics) * up


class QuadrupedPhysics(quadruped.Physics):
    """The package's, but for a numpy function that numpy 2.4 has dropped."""

    def _get_sensor_names(self, *kinds: int) -> list[str]:
        if kinds not in self._sensor_types_to_names:
            found = np.flatnonzero(np.isin(self.model.sensor_type, kinds))
            self._sensor_types_to_names[kinds] = [self.model.id2name(sensor, "sensor") for sensor in found]
        return self._sensor_types_to_names[kinds]


def urlb_tasks(domain: str) -> dict[str, base.Task]:
    """Return the tasks of URLB (Laskin et al. 2021) in a domain by name; none beside walker and quadruped."""
    if domain == "walker":
        speeds = {"stand": 0, "walk": 1, "run": 8}
        return {name: walker.PlanarWalker(speed) for name, speed in speeds.items()} | {"flip": Flip()}
    if domain == "quadruped":
        moves = {name: quadruped.Move(speed) for name, speed in {"walk": 0.5, "run": 5}.items()}
        return {"stand": Stand(), **moves, "jump": Jump()}
    return {}


def other_tasks(domain: str, task: str) -> dict[str, base.Task]:
    """Return URLB's other tasks on the same model; none where `task` isn't one of URLB's."""
    tasks = urlb_tasks(domain)
    return {name: other for name, other in tasks.items() if name != task} if task in tasks else {}


def load(domain: str, task: str) -> control.Environment:
    """Return a task of the package, or one of URLB's, as the package's kind of environment."""
    if domain == "quadruped":
        xml = quadruped.make_model(**_QUADRUPED_MODELS[task])
        physics = QuadrupedPhysics.from_xml_string(xml, common.ASSETS)
        own = {"escape": quadruped.Escape, "fetch": quadruped.Fetch}
        chosen = own[task]() if task in own else urlb_tasks(domain)[task]
        return control.Environment(physics, chosen, **_QUADRUPED_TIME)
    if (domain, task) == ("walker", "flip"):
        physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
        return control.Environment(physics, Flip(), **_WALKER_TIME)
    return suite.load(domain, task)


def take_context(physics: mujoco.Physics) -> None:
    """Make the OpenGL context of `physics` the current one, if it has one.

    dm_control does so only where its own books say that another is current. They know nothing of other
    renderers in the process (mujoco's own, which Meta-World uses), and it would draw into theirs.
    """
    if physics._contexts is not None:
        with physics._contexts.gl.make_current() as thread:
            thread.call(physics._contexts.gl._platform_make_current)
