"""RoboDesk (Kannan et al. 2021, github.com/google-research/robodesk): PyPI's robodesk 1.0.0 with gymnasium.

A Franka arm at a desk with a drawer, a sliding door, buttons, blocks and a bin. Physics, rewards and pictures
are the package's own; what is mended is told in docs/environments.md.
"""

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Option, Suite, Task
from envs.suites.robotics.mujoco import NO_RENDERER, RENDER, prepare_rendering, rendering_failed
from envs.suites.robotics.robodesk_rewards import OBJECTS, Scene, dense, displaced, solved

ACTION_SIZE = 5
_STATE_SIZES = {"kept": 73, "mended": 76}
_SCALE = 4  # of what `render` draws, over what the package draws


class RoboDesk(gymnasium.Env[Any, Any]):
    """A task of RoboDesk with gymnasium's reset, step and render.

    Observation: `image` uint8 (image_size, image_size, 3), or `vector` float32 (73,): joints of arm and
    gripper (9,), their velocities (9,), hand (3,), and twice the velocities of all else (26,), the first of
    them where the package means positions; with mended defects it's (76,) with those positions (29,).
    Action: Box [-1, 1] (5,), clipped: how the hand moves (3,), how the wrist turns, and the gripper. Reward:
    the package's, 0 to 1 for each of its steps, summed over `action_repeat` of them. The 500th of those steps
    truncates; nothing terminates.

    Attributes:
        task_rewards: all tasks, whose rewards of the same kind stand in `info["task_rewards"]`, summed as the
            reward is.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(
        self,
        task: str,
        reward: str = "dense",
        observe: str = "pixels",
        render: str = "faithful",
        defects: str = "kept",
        action_repeat: int = 1,
        image_size: int = 64,
        render_size: int = 256,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Load the model; importing the package takes a second the first time.

        Args:
            task: one of `TASKS`.
            reward: "dense", from distances; "sparse", 1 for each step on which the task is solved; "success",
                1 for the first such step of the episode.
            observe: "pixels" or "state".
            render: "faithful", or "fast" without shadows, reflections and smoothed edges.
            defects: "kept", or "mended", so that dense rewards see a block lifted, pushed off or displaced.
            action_repeat: how many of the package's steps an action lasts.
            image_size: height and width of the observation, in pixels.
            render_size: height and width of what `render` returns, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: there is nothing to draw with; states need nothing.
        """
        self._package = _package(task, observe == "pixels")
        self._desk = self._package.Desk(task, reward, defects == "mended")
        self._painter: Any = None
        self.task_rewards = tuple(TASKS)
        self._task, self._kind, self._mended = task, reward, defects == "mended"
        self._pixels, self._fast, self._repeat = observe == "pixels", render == "fast", action_repeat
        self._image_size, self._render_size, self.render_mode = image_size, render_size, render_mode
        self._begun = self._running = self._closed = False
        self._start: Scene
        self._solved: set[str] = set()
        self._moved: set[str] = set()
        self.metadata = self.metadata | {"render_fps": max(1, round(50 / action_repeat))}
        image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        vector = spaces.Box(-np.inf, np.inf, (_STATE_SIZES[defects],), np.float32)
        self.observation_space = spaces.Dict({"image": image} if self._pixels else {"vector": vector})
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; the same seed gives the same one in every process.

        `reset(seed=s)` begins what the package begins after `numpy.random.seed(s)`; numpy's global generator
        is left as it was. Without a seed the next one is drawn from the generator that the last seed began.
        """
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31 - 1)) if seed is None else int(seed)
        before = np.random.get_state()
        try:
            np.random.seed(drawn % 2**32)
            self._desk.reset()
        finally:
            np.random.set_state(before)
        self._begun = self._running = True
        self._start, self._solved, self._moved = self._desk.scene(), set(), set()
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act for `action_repeat` of the package's steps, fewer where the episode ends.

        `info`: `success`, 1 if the task was solved on any of these steps, and `task_rewards`. On the last
        step `info["episode_metrics"]` holds `success`, 1 if any step of the episode solved the task, and
        `success/<task>` of every task; `info["reached"]` names the objects that any step of it displaced.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("Call reset before step: no episode is under way.")
        if np.shape(action) != (ACTION_SIZE,):
            raise gymnasium.error.InvalidAction(f"RoboDesk takes (5,) numbers, not {np.shape(action)}.")
        action = np.asarray(action, np.float32).clip(-1, 1)
        reward, success, others = 0.0, False, dict.fromkeys(TASKS, 0.0)
        for _ in range(self._repeat):
            _, pay, truncated, _ = self._desk.step(action)
            reward += float(pay)
            success |= self._judge(others)
            if truncated:
                break
        self._running = not truncated
        others[self._task] = reward
        info: dict[str, Any] = {"success": float(success), "task_rewards": others}
        if truncated:
            info["episode_metrics"] = {"success": float(self._task in self._solved)} | {
                f"success/{name}": float(name in self._solved) for name in TASKS
            }
            info["reached"] = sorted(self._moved)
        return self._observe(), reward, False, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw (render_size, render_size, 3) uint8, what the observation shows but sharper."""
        if self.render_mode is None:
            return None
        if not self._begun:
            raise gymnasium.error.ResetNeeded("Call reset before render: there is nothing to draw yet.")
        return self._draw(self._render_size, _SCALE)

    def close(self) -> None:
        """Free the renderer and the simulation; nothing works afterwards."""
        if self._closed:
            return
        self._closed, self._begun, self._running = True, False, False
        if self._painter is not None:
            self._painter.take_context()
        self._desk.close()

    def _judge(self, rewards: dict[str, float]) -> bool:
        """Add every task's reward for the present state, and return whether the own task is solved."""
        scene = self._desk.scene()
        self._moved |= displaced(scene, self._start)
        # the package compares the blocks with themselves
        start = self._start.blocks if self._mended else scene.blocks
        now = solved(scene, start)
        pays: Mapping[str, float] = dense(scene, start) if self._kind == "dense" else now
        for name, pay in pays.items():
            if self._kind != "success" or name not in self._solved:
                rewards[name] += pay
        self._solved |= {name for name, done in now.items() if done}
        return now[self._task]

    def _observe(self) -> dict[str, np.ndarray]:
        if self._pixels:
            return {"image": self._draw(self._image_size)}
        return {"vector": self._desk.state()}

    def _draw(self, size: int, scale: int = 1) -> np.ndarray:
        try:
            if self._painter is None:
                self._painter = self._package.Painter(self._desk.physics, self._fast)
            return self._painter.draw(size, scale)
        except RuntimeError as error:
            raise rendering_failed(SUITE.id(self._task), error) from error


def _package(task: str, drawing: bool) -> ModuleType:
    """Import the package; without a renderer where nothing must be drawn and there is none to be had."""
    prepare_rendering()
    try:
        from envs.suites.robotics import robodesk_shims
    except NO_RENDERER as error:
        if drawing:
            raise rendering_failed(SUITE.id(task), error) from error
        os.environ["MUJOCO_GL"] = "disable"  # what failed once will fail again in this process
        from envs.suites.robotics import robodesk_shims
    return robodesk_shims


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return RoboDesk's measures over some episodes; empty without any.

    `success_rate`: share of episodes with a step that solved the task, in percent; `success_rate/<task>` the
    same of every task. `tasks_solved`: how many tasks were solved in at least one episode.

    Args:
        episodes: summaries from `VectorEnv.pop_episodes`.
    """
    rows = [episode for episode in episodes if "success" in episode]  # one that was cut off has none
    if not rows:
        return {}
    rates = {
        key.replace("success", "success_rate", 1): 100 * sum(row[key] for row in rows) / len(rows)
        for key in sorted(rows[0])
        if key.split("/")[0] == "success"
    }
    of_tasks = [rate for key, rate in rates.items() if "/" in key]
    return rates | {"tasks_solved": float(sum(rate > 0 for rate in of_tasks))}


# The first nine are the paper's core tasks.
TASKS: dict[str, str] = {
    "open_slide": "push the sliding door all the way to the right",
    "open_drawer": "pull the drawer open",
    "push_green": "push the green button",
    "stack": "put the upright block on the flat one",
    "upright_block_off_table": "push the upright block off the table",
    "flat_block_in_bin": "put the flat block into the bin",
    "flat_block_in_shelf": "put the flat block into the shelf",
    "lift_upright_block": "lift the upright block",
    "lift_ball": "lift the ball",
    "push_blue": "push the blue button",
    "push_red": "push the red button",
    "flat_block_off_table": "push the flat block off the table",
    "ball_off_table": "push the ball off the table",
    "upright_block_in_bin": "put the upright block into the bin",
    "ball_in_bin": "put the ball into the bin",
    "upright_block_in_shelf": "put the upright block into the shelf",
    "ball_in_shelf": "put the ball into the shelf",
    "lift_flat_block": "lift the flat block",
}


SUITE: Suite = Suite(
    "robodesk",
    {
        task: Task(
            f"RoboDesk: {what}; 500 steps.", "image uint8 (64, 64, 3)", "Box(-1.0, 1.0, (5,), float32)"
        )
        for task, what in TASKS.items()
    },
    lambda task, options, image_size: RoboDesk(task, image_size=image_size, **options),
    options={
        "reward": Option(
            "dense",
            "dense: from distances; sparse: 1 a step while solved; success: 1 an episode, once solved",
            ("dense", "sparse", "success"),
        ),
        "observe": Option("pixels", "pixels: a picture; state: the package's numbers", ("pixels", "state")),
        "render": RENDER,
        "defects": Option(
            "kept",
            "mended: rewards compare the blocks with where they began, as the package means to",
            ("kept", "mended"),
        ),
        "action_repeat": Option(1, "how many of the package's steps an action lasts", least=1),
    },
    packages=("robodesk", "dm_control", "mujoco"),
    extra="robotics",
    slow=True,
    summarise=summarise,
    reachable=lambda task, options: len(OBJECTS),
    limit=500,
)
