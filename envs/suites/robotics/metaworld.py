"""Meta-World (Yu et al. 2020, arXiv:1910.10897): PyPI's metaworld 3.1.1 as gymnasium environments.

A robot arm in 50 scenes on a table; MT1 and ML1 of each, and the train and test scenes of ML10 and ML45 as
mixtures. Rewards, observations and pictures are the package's own; what is mended is told in
docs/environments.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Option, Suite, Task
from envs.suites.robotics.mujoco import NO_RENDERER, RENDER, prepare_rendering, rendering_failed
from expedition import UserError

CAMERAS = ("corner2", "corner", "corner3", "corner4", "topview", "behindGripper", "gripperPOV")
GOALS = ("mt1", "ml1-train", "ml1-test")
OBSERVATION_SIZE, ACTION_SIZE = 39, 4
_FPS = 80


class MetaWorld(gymnasium.Env[Any, Any]):
    """A scene of Meta-World, or a mixture of scenes, with gymnasium's reset, step and render.

    Observation: `image` uint8 (image_size, image_size, 3), or `vector` float32 (39,), the package's: hand
    (3,), gripper, objects (14,), the same 18 of a step before, goal (3,). Action: Box [-1, 1] (4,), clipped:
    where the hand is pulled, and how hard the gripper closes. Reward: the package's, 0 to 10 for each of its
    steps, summed over `action_repeat` of them. The 500th of those steps truncates; nothing terminates.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": _FPS}

    def __init__(
        self,
        scenes: Sequence[str],
        goals: str = "mt1",
        observe: str = "pixels",
        render: str = "faithful",
        camera: str = "corner2",
        action_repeat: int = 1,
        image_size: int = 64,
        render_size: int = 256,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Import the package, which takes a second the first time; scenes are made when they are met.

        Args:
            scenes: names of the package's; each episode is of one of them.
            goals: "mt1": any goal, told in the vector; "ml1-train" and "ml1-test": one of the scene's 50
                goals, zeros in the vector. Pictures show the package's marker of the goal either way.
            observe: "pixels" or "state".
            render: "faithful", or "fast" without shadows, reflections and smoothed edges.
            camera: one of `CAMERAS`.
            action_repeat: how many of the package's steps an action lasts.
            image_size: height and width of the observation, in pixels.
            render_size: height and width of what `render` returns, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: there is nothing to draw with.
        """
        prepare_rendering()
        try:
            from envs.suites.robotics import metaworld_scenes  # needs the package
        except NO_RENDERER as error:
            raise rendering_failed("metaworld", error) from error

        self._package = metaworld_scenes
        self._studio: Any = metaworld_scenes.studio()
        self._scene: Any = None
        self._names, self._goals, self._fast = tuple(scenes), goals, render == "fast"
        self._pixels, self._camera, self._repeat = observe == "pixels", camera, action_repeat
        self._image_size, self._render_size, self.render_mode = image_size, render_size, render_mode
        self._running = self._success = False
        self.metadata = self.metadata | {"render_fps": max(1, round(_FPS / action_repeat))}
        if self._pixels:
            image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            self.observation_space = spaces.Dict({"image": image})
        else:
            vector = spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32)
            self.observation_space = spaces.Dict({"vector": vector})
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; its seed alone determines scene, goal and objects. `info`: `task`, the scene.

        With goals "mt1", goal and objects are where the package's `seeded_rand_vec` puts them under this
        seed. Without a seed the next one is drawn from the generator that the last seed began.
        """
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31 - 1)) if seed is None else int(seed)
        random = np.random.default_rng(drawn)
        scene = self._take(self._names[int(random.integers(len(self._names)))])
        if self._goals == "mt1":
            goal = scene.draw_goal(drawn)
        else:
            first = self._package.GOAL_SEED  # the package seeds its test goals with the next number
            goals = self._studio.goals(scene, first + (self._goals == "ml1-test"))
            goal = goals[int(random.integers(len(goals)))]
        observation = scene.begin(goal, hidden=self._goals != "mt1")
        self._running, self._success = True, False
        return self._observe(observation), {"task": scene.name}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act for `action_repeat` of the package's steps, fewer where the episode ends.

        `info` is the package's, with `success` 1 if any of these steps succeeded, and `task`, the scene. On
        the last step `info["episode_metrics"]` holds `success`, 1 if any step of the episode did; in a
        mixture also as `success/<task>`; `info["reached"]` names the objects that were moved as
        `<scene>/<object>`.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("Call reset before step: no episode is under way.")
        if np.shape(action) != (ACTION_SIZE,):
            raise gymnasium.error.InvalidAction(f"Meta-World takes (4,) numbers, not {np.shape(action)}.")
        action = np.asarray(action, np.float32).clip(-1, 1)
        reward, success, truncated, left = 0.0, False, False, self._repeat
        while left and not truncated:
            observation, pay, _, truncated, info = self._scene.env.step(action)
            reward, success, left = reward + float(pay), success or bool(info["success"]), left - 1
            self._scene.watch()
        self._success |= success
        self._running = not truncated
        info = info | {"success": float(success), "task": self._scene.name}
        if truncated:
            info["episode_metrics"] = self._metrics()
            info["reached"] = [f"{self._scene.name}/{name}" for name in self._scene.moved()]
        return self._observe(observation), reward, False, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw (render_size, render_size, 3) uint8 from the same camera."""
        if self.render_mode is None:
            return None
        if self._scene is None:
            raise gymnasium.error.ResetNeeded("Call reset before render: there is nothing to draw yet.")
        return self._draw(self._render_size)

    def close(self) -> None:
        """Free what is drawn with; `reset` makes it anew."""
        if self._scene is not None:
            self._studio.stop_drawing(self._scene)
        self._scene = self._studio = None
        self._running = False

    def _take(self, name: str) -> Any:
        """Make sure that the scene of this name is ours, and give back the one before."""
        self._studio = self._studio or self._package.studio()
        if self._scene is None or self._scene.name != name:
            before, self._scene = self._scene, self._studio.lend(name, self._fast)
            if before is not None:
                self._studio.take_back(before)
        return self._scene

    def _metrics(self) -> dict[str, float]:
        metrics = {"success": float(self._success)}
        if len(self._names) > 1:
            metrics[f"success/{self._scene.name}"] = metrics["success"]
        return metrics

    def _observe(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        if self._pixels:
            return {"image": self._draw(self._image_size)}
        return {"vector": vector.astype(np.float32)}

    def _draw(self, size: int) -> np.ndarray:
        largest = max(self._image_size, self._render_size)
        try:
            return self._studio.draw(self._scene, self._camera, size, largest)
        except RuntimeError as error:
            raise rendering_failed("metaworld", error) from error


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return `success_rate`, the share of episodes with a step that succeeded, in percent; empty without any.

    In a mixture also `success_rate/<task>` of each scene that was met.

    Args:
        episodes: summaries from `VectorEnv.pop_episodes`.
    """
    successes: dict[str, list[float]] = {}
    for episode in episodes:
        for key, value in episode.items():
            if key.split("/")[0] == "success":
                successes.setdefault(key.replace("success", "success_rate", 1), []).append(value)
    return {key: 100 * sum(successes[key]) / len(successes[key]) for key in sorted(successes)}


SCENES: dict[str, str] = {
    "assembly-v3": "put a ring with a handle over a peg",
    "basketball-v3": "drop a ball into the basket",
    "bin-picking-v3": "carry a block from one bin to the other",
    "box-close-v3": "put the lid on a box",
    "button-press-topdown-v3": "press a button from above",
    "button-press-topdown-wall-v3": "press a button from above, past a wall",
    "button-press-v3": "press a button from the front",
    "button-press-wall-v3": "press a button from the front, past a wall",
    "coffee-button-v3": "press the button of a coffee machine",
    "coffee-pull-v3": "pull a mug away from a coffee machine",
    "coffee-push-v3": "push a mug under a coffee machine",
    "dial-turn-v3": "turn a dial",
    "disassemble-v3": "lift a ring with a handle off its peg",
    "door-close-v3": "close a door",
    "door-lock-v3": "turn the bolt of a door to lock it",
    "door-open-v3": "open a door",
    "door-unlock-v3": "turn the bolt of a door to unlock it",
    "hand-insert-v3": "put the gripper into a hole",
    "drawer-close-v3": "close a drawer",
    "drawer-open-v3": "open a drawer",
    "faucet-open-v3": "turn a tap on",
    "faucet-close-v3": "turn a tap off",
    "hammer-v3": "drive a nail with a hammer",
    "handle-press-side-v3": "press a handle down, sideways",
    "handle-press-v3": "press a handle down",
    "handle-pull-side-v3": "pull a handle up, sideways",
    "handle-pull-v3": "pull a handle up",
    "lever-pull-v3": "pull a lever up",
    "pick-place-wall-v3": "lift a block over a wall to the goal",
    "pick-out-of-hole-v3": "take a block out of a hole",
    "pick-place-v3": "carry a block to the goal",
    "plate-slide-v3": "slide a plate into a goal",
    "plate-slide-side-v3": "slide a plate into a goal at the side",
    "plate-slide-back-v3": "slide a plate back out of a goal",
    "plate-slide-back-side-v3": "slide a plate back out of a goal at the side",
    "peg-insert-side-v3": "put a peg into a hole at the side",
    "peg-unplug-side-v3": "pull a peg out of its hole at the side",
    "soccer-v3": "push a ball into a goal",
    "stick-push-v3": "push a box with a stick",
    "stick-pull-v3": "pull a box with a stick",
    "push-v3": "push a block to the goal",
    "push-wall-v3": "push a block around a wall to the goal",
    "push-back-v3": "pull a block back to the goal",
    "reach-v3": "bring the hand to the goal",
    "reach-wall-v3": "bring the hand to the goal past a wall",
    "shelf-place-v3": "put a block on a shelf",
    "sweep-into-v3": "sweep a block into a hole",
    "sweep-v3": "sweep a block off the table",
    "window-open-v3": "slide a window open",
    "window-close-v3": "slide a window shut",
}


def _scenes(names: str) -> tuple[str, ...]:
    return tuple(f"{name}-v3" for name in names.split())


# All other scenes have one thing that can move.
TWO_OBJECTS = frozenset(_scenes("coffee-button coffee-pull coffee-push hammer stick-pull stick-push"))
_ML45_TEST = _scenes("bin-picking box-close hand-insert door-lock door-unlock")
MIXTURES: dict[str, tuple[str, ...]] = {
    "ml10-train": _scenes(
        "reach push pick-place door-open drawer-close button-press-topdown peg-insert-side window-open sweep "
        "basketball"
    ),
    "ml10-test": _scenes("drawer-open door-close shelf-place sweep-into lever-pull"),
    "ml45-train": tuple(name for name in SCENES if name not in _ML45_TEST),
    "ml45-test": _ML45_TEST,
}


def _task(description: str) -> Task:
    return Task(description, "image uint8 (64, 64, 3)", f"Box(-1.0, 1.0, ({ACTION_SIZE},), float32)")


def _build(task: str, options: Mapping[str, Any], image_size: int) -> MetaWorld:
    if task not in MIXTURES:
        return MetaWorld((task,), image_size=image_size, **options)
    if options["goals"] != "mt1":
        raise UserError(f"'metaworld-{task}' has goals of its own: leave the option 'goals' out.")
    return MetaWorld(MIXTURES[task], image_size=image_size, **{**options, "goals": "ml1-train"})


def _reachable(task: str, options: Mapping[str, Any]) -> int:
    scenes = MIXTURES.get(task, (task,))
    return len(scenes) + len(TWO_OBJECTS.intersection(scenes))


SUITE: Suite = Suite(
    "metaworld",
    {name: _task(f"Meta-World: {what}; 500 steps.") for name, what in SCENES.items()}
    | {
        name: _task(
            f"Meta-World: the {len(scenes)} {name.split('-')[1]} scenes of {name.split('-')[0].upper()}, one "
            "an episode; 500 steps."
        )
        for name, scenes in MIXTURES.items()
    },
    _build,
    options={
        "goals": Option(
            "mt1",
            "mt1: any goal, told in the vector; ml1-train, ml1-test: one of 50 goals, not told",
            GOALS,
        ),
        "observe": Option("pixels", "pixels: a picture; state: the package's numbers", ("pixels", "state")),
        "render": RENDER,
        "camera": Option("corner2", "the package's camera that pictures are taken by", CAMERAS),
        "action_repeat": Option(1, "how many of the package's steps an action lasts", least=1),
    },
    packages=("metaworld", "mujoco"),
    extra="robotics",
    slow=True,
    summarise=summarise,
    reachable=_reachable,
    limit=500,
)
