"""DeepMind Control (Tassa et al. 2018, arXiv:1801.00690): PyPI's dm_control as gymnasium environments.

Also the tasks that URLB (Laskin et al. 2021, arXiv:2110.15191) adds on the same robots: walker flip,
quadruped stand and jump, with the constants of its public code, github.com/rll-research/url_benchmark. Left
out is the domain lqr: its controls have no bounds and its episodes no limit. What the adapter mends is told
in docs/environments.md.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Option, Suite, Task
from envs.suites.robotics.mujoco import NO_RENDERER, RENDER, draw_fast, prepare_rendering, rendering_failed
from expedition import UserError

USUAL_CAMERA = -1
_QUADRUPED_CAMERA = 2  # from the side, where 0 is far above: that of URLB and DreamerV3
_DOG_FETCH_CAMERA = 2  # that of the other tasks of dog, where 0 sees the ball alone


class DMControl(gymnasium.Env[Any, Any]):
    """A task of DeepMind Control with gymnasium's reset, step and render.

    Observation: `image` uint8 (image_size, image_size, 3), or `vector` float32 (d,), the package's entries in
    its order. Action: Box [-1, 1] (A,), clipped, and stretched to the domain's bounds. Reward: the package's,
    0 to 1 for each of its steps, summed over `action_repeat` of them. The 1000th of the package's steps
    truncates; nothing in this suite terminates.

    Attributes:
        task_rewards: in walker and quadruped the other tasks of URLB, whose rewards stand in
            `info["task_rewards"]`, summed as the reward is; none elsewhere.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(
        self,
        domain: str,
        task: str,
        observe: str = "pixels",
        render: str = "faithful",
        action_repeat: int = 1,
        camera: int = USUAL_CAMERA,
        image_size: int = 64,
        render_size: int = 256,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Load the model; importing the package takes a second the first time.

        Args:
            domain: the robot.
            task: what it shall do.
            observe: "pixels" or "state".
            render: "faithful", or "fast" without shadows, reflections and smoothed edges.
            action_repeat: how many of the package's steps an action lasts.
            camera: its number; -1 for the usual one: 2 for quadruped and dog-fetch, 0 for all others.
            image_size: height and width of the observation, in pixels.
            render_size: height and width of what `render` returns, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: there is no such camera, or nothing to draw with.
        """
        prepare_rendering()
        self._id = f"dmc-{domain}-{task}"
        try:
            from envs.suites.robotics import dmc_tasks  # needs the package
        except NO_RENDERER as error:
            raise rendering_failed(self._id, error) from error

        self._package = dmc_tasks
        self._env = dmc_tasks.load(domain, task)
        self._others = dmc_tasks.other_tasks(domain, task)
        self.task_rewards = tuple(self._others)
        self.render_mode = render_mode
        self._repeat, self._pixels = action_repeat, observe == "pixels"
        self._image_size, self._render_size = image_size, render_size
        self._begun = self._running = self._closed = False
        self._set_up_drawing(camera, render == "fast")
        self._set_up_spaces()

    def _set_up_drawing(self, camera: int, fast: bool) -> None:
        model = self._env.physics.model
        if camera >= model.ncam:
            raise UserError(
                f"{self._id} has cameras 0 to {model.ncam - 1}: choose one of them, not {camera}."
            )
        if fast:
            draw_fast(model)
        buffer, largest = model.vis.global_, max(self._image_size, self._render_size)
        buffer.offwidth, buffer.offheight = max(buffer.offwidth, largest), max(buffer.offheight, largest)
        self._camera = _usual_camera(self._id) if camera == USUAL_CAMERA else camera
        self._cameras: dict[int, Any] = {}
        period = self._env.control_timestep() * self._repeat
        self.metadata = self.metadata | {"render_fps": max(1, round(1 / period))}

    def _set_up_spaces(self) -> None:
        if self._pixels:
            shape = (self._image_size, self._image_size, 3)
            self.observation_space = spaces.Dict({"image": spaces.Box(0, 255, shape, np.uint8)})
        else:
            size = sum(int(np.prod(entry.shape)) for entry in self._env.observation_spec().values())
            self.observation_space = spaces.Dict({"vector": spaces.Box(-np.inf, np.inf, (size,), np.float32)})
        bounds = self._env.action_spec()
        self._centre = (bounds.maximum + bounds.minimum) / 2
        self._half = (bounds.maximum - bounds.minimum) / 2
        self.action_space = spaces.Box(-1.0, 1.0, bounds.shape, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; the same seed gives the same one in every process.

        `reset(seed=s)` begins the first episode of the package's `load(..., task_kwargs={"random": s})`.
        Without a seed the next one is drawn from the generator that the last seed began.
        """
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31 - 1)) if seed is None else int(seed)
        self._env.task.random.seed(drawn % 2**32)
        self._package.take_context(self._env.physics)  # quadruped-escape hands a new terrain to the renderer
        step = self._env.reset()
        self._begun = self._running = True
        return self._observe(step.observation), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act for `action_repeat` of the package's steps, fewer where the episode ends."""
        if not self._running:
            raise gymnasium.error.ResetNeeded("Call reset before step: no episode is under way.")
        if np.shape(action) != self.action_space.shape:
            raise gymnasium.error.InvalidAction(
                f"{self._id} takes {self.action_space.shape} numbers, not {np.shape(action)}."
            )
        wide = self._centre + self._half * np.clip(np.asarray(action, np.float64), -1, 1)
        reward, others = 0.0, dict.fromkeys(self.task_rewards, 0.0)
        for _ in range(self._repeat):
            step = self._env.step(wide)
            reward += float(step.reward)
            for name, task in self._others.items():
                others[name] += float(task.get_reward(self._env.physics))
            if step.last():
                break
        self._running = not step.last()
        terminated = step.last() and step.discount == 0
        truncated = step.last() and not terminated
        info = {"task_rewards": others} if others else {}
        return self._observe(step.observation), reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw (render_size, render_size, 3) uint8 from the same camera."""
        if self.render_mode is None:
            return None
        if not self._begun:
            raise gymnasium.error.ResetNeeded("Call reset before render: there is nothing to draw yet.")
        return self._draw(self._render_size)

    def close(self) -> None:
        """Free the renderer and the simulation; nothing works afterwards."""
        if self._closed:
            return
        self._closed = True
        self._package.take_context(self._env.physics)
        for camera in self._cameras.values():
            camera.scene.free()
        self._env.physics.free()

    def _observe(self, entries: dict[str, Any]) -> dict[str, np.ndarray]:
        if self._pixels:
            return {"image": self._draw(self._image_size)}
        return {"vector": np.concatenate([np.ravel(entry) for entry in entries.values()]).astype(np.float32)}

    def _draw(self, size: int) -> np.ndarray:
        """Return what `physics.render` would, but keep the camera, which costs more to make than to use."""
        self._package.take_context(self._env.physics)
        if size not in self._cameras:
            try:
                self._cameras[size] = self._package.Camera(self._env.physics, size, size, self._camera)
            except RuntimeError as error:
                raise rendering_failed(self._id, error) from error
        return self._cameras[size].render().copy()


def _usual_camera(env_id: str) -> int:
    if env_id == "dmc-dog-fetch":
        return _DOG_FETCH_CAMERA
    return _QUADRUPED_CAMERA if env_id.startswith("dmc-quadruped-") else 0


# Domain: what it is, size of an action, tasks.
DOMAINS: dict[str, tuple[str, int, str]] = {
    "acrobot": ("a double pendulum with a motor at the elbow", 1, "swingup swingup_sparse"),
    "ball_in_cup": ("a cup that catches a ball on a string", 2, "catch"),
    "cartpole": (
        "poles on a cart",
        1,
        "balance balance_sparse swingup swingup_sparse two_poles three_poles",
    ),
    "cheetah": ("a planar runner of two legs", 6, "run"),
    "dog": ("a Pharaoh dog of 38 motors", 38, "fetch run stand trot walk"),
    "finger": ("a planar finger that turns a body on a hinge", 2, "spin turn_easy turn_hard"),
    "fish": ("a fish in water", 5, "upright swim"),
    "hopper": ("a planar robot of one leg", 4, "stand hop"),
    "humanoid": ("a humanoid of 21 motors", 21, "stand walk run run_pure_state"),
    "humanoid_CMU": ("a humanoid of 56 motors", 56, "stand walk run"),
    "manipulator": ("a planar arm with a hand", 5, "bring_ball bring_peg insert_ball insert_peg"),
    "pendulum": ("a pendulum whose motor is too weak to lift it at once", 1, "swingup"),
    "point_mass": ("a point that slides on a plane", 2, "easy hard"),
    "quadruped": ("a robot of four legs in space", 12, "walk run escape fetch stand jump"),
    "reacher": ("a planar arm of two links and a target", 2, "easy hard"),
    "stacker": ("a planar arm that stacks boxes", 5, "stack_2 stack_4"),
    "swimmer": ("a planar chain of links in a fluid", 5, "swimmer6 swimmer15"),
    "walker": ("a planar walker of two legs", 6, "stand walk run flip"),
}
_ACTIONS = {"swimmer-swimmer15": 14}  # where they differ from the domain's
_OF_URLB = ("walker-flip", "quadruped-stand", "quadruped-jump")


def _task(domain: str, task: str) -> Task:
    key, (what, actions, _) = f"{domain}-{task}", DOMAINS[domain]
    source = "URLB's task on DeepMind Control" if key in _OF_URLB else "DeepMind Control"
    return Task(
        f"{source}, {task}: {what}; 1000 steps.",
        "image uint8 (64, 64, 3)",
        f"Box(-1.0, 1.0, ({_ACTIONS.get(key, actions)},), float32)",
    )


def _build(task: str, options: Mapping[str, Any], image_size: int) -> DMControl:
    domain, name = task.split("-")
    return DMControl(domain, name, image_size=image_size, **options)


SUITE: Suite = Suite(
    "dmc",
    {
        f"{domain}-{task}": _task(domain, task)
        for domain, (_, _, tasks) in DOMAINS.items()
        for task in tasks.split()
    },
    _build,
    options={
        "observe": Option("pixels", "pixels: a picture; state: the package's numbers", ("pixels", "state")),
        "render": RENDER,
        "action_repeat": Option(1, "how many of the package's steps an action lasts", least=1),
        "camera": Option(
            USUAL_CAMERA,
            "the camera's number; -1: the usual one, 2 for quadruped, else 0",
            least=USUAL_CAMERA,
        ),
    },
    packages=("dm_control", "mujoco"),
    extra="robotics",
    slow=True,
    limit=1000,
)
