"""Meta-World's scenes as the package makes them, their goals, and how they are drawn.

Importing this module imports `metaworld` and MuJoCo (a second or so), so `metaworld` does it only when an
environment is made.
"""

import atexit
import importlib
import os
import warnings
import weakref
from typing import Any

import metaworld
import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from envs.suites.robotics.mujoco import draw_fast

NUM_GOALS = 50
GOAL_SEED = 0
METRES, RADIANS, SETTLING = 0.01, 0.1, 20
"""How far an object must be from where it was after `SETTLING` of the package's steps to count as moved."""
ARM = "base"
"""The body that the arm hangs on."""
_MAX_GEOMS = 1000  # as the package's renderer
_UPSIDE_DOWN = frozenset({"corner", "corner2", "corner3", "corner4"})


class Scene:
    """One environment of the package, with the goal that it is told.

    Attributes:
        name: the package's. fast: see `envs.suites.robotics.mujoco.draw_fast`.
        env: the package's environment; step it as it is.
        drawer: what an OpenGL context holds of it, while it is drawn.
    """

    def __init__(self, name: str, fast: bool) -> None:
        self.name, self.fast = name, fast
        self.env: Any = ALL_V3_ENVIRONMENTS[name]()
        self.drawer: _Drawer | None = None
        self._objects = _objects(self.env.model)
        self._start: np.ndarray | None = None
        self._moved: set[str] = set()
        if fast:
            draw_fast(self.env.model)

    def begin(self, goal: np.ndarray, hidden: bool) -> np.ndarray:
        """Reset and return the first observation, (39,); `hidden` puts zeros in the goal's place."""
        # set_task forgets the observation space, and fails if the package has not asked for it since.
        _ = self.env.sawyer_observation_space
        data = {"env_cls": type(self.env), "rand_vec": goal, "partially_observable": hidden}
        self.env.set_task(metaworld._encode_task(self.name, data))
        self._start, self._moved = None, set()
        return self.env.reset()[0]

    @property
    def objects(self) -> list[str]:
        """The things in the scene that can move, but for the arm."""
        return list(self._objects)

    def moved(self) -> list[str]:
        """Return which objects were displaced at any call of `watch` since `begin`."""
        return sorted(self._moved)

    def watch(self) -> None:
        """Look where the objects are; call it after each step.

        An object counts once it is a centimetre or a tenth of a radian from its start. That is where it was
        after 20 steps: until then some things fall or swing into place by themselves, up to 9 cm.
        """
        if self.env.curr_path_length < SETTLING:
            return
        now = self.env.data.qpos
        if self._start is None:
            self._start = now.copy()
        for name, (joints, least) in self._objects.items():
            if name not in self._moved and np.linalg.norm(now[joints] - self._start[joints]) >= least:
                self._moved.add(name)

    def draw_goal(self, seed: int) -> np.ndarray:
        """Return the positions of goal and objects that the package's own reset draws under `seed`.

        That reset draws twice and leaves parts of some scenes where the first draw put them (a drawer, a
        dial, the marker of the goal), so only the numbers are taken from it; `begin` is given them.
        """
        self.env.seed(seed)
        return self._draw_goals(1)[0]

    def fixed_goals(self, seed: int) -> np.ndarray:
        """Return the 50 goals of the train tasks of the package's `ML1(name, seed)`, (50, d).

        Its test tasks are the train tasks of `seed + 1`.
        """
        self.env.np_random = np.random.RandomState(seed)  # numpy's global generator, without touching it
        return self._draw_goals(NUM_GOALS)

    def _draw_goals(self, count: int) -> np.ndarray:
        env, frame_skip = self.env, self.env.frame_skip
        env.seeded_rand_vec, env._freeze_rand_vec = True, False
        env.frame_skip = 0  # the draws don't depend on the physics, which takes the most time
        goals = []
        for _ in range(count):
            env.reset_model()  # the package's reset calls it twice
            env.reset_model()
            goals.append(env._last_rand_vec)
        env.frame_skip = frame_skip
        return np.array(goals)


def _objects(model: Any) -> dict[str, tuple[np.ndarray, float]]:
    """By name, where the state holds the place of each body with joints of its own, and from when it counts.

    The place of a free body is its position. A body without a name goes by its parent's.
    """
    found: dict[str, tuple[list[int], float]] = {}
    arm: set[int] = set()
    for body in range(1, model.nbody):  # parents come before their children
        if model.body(body).name == ARM or int(model.body_parentid[body]) in arm:
            arm.add(body)
    for joint in range(model.njnt):
        body, kind, at = int(model.jnt_bodyid[joint]), model.jnt_type[joint], int(model.jnt_qposadr[joint])
        if body in arm:
            continue
        name = model.body(body).name or model.body(model.body_parentid[body]).name
        least = RADIANS if kind == mujoco.mjtJoint.mjJNT_HINGE else METRES
        places, _ = found.setdefault(name, ([], least))
        places += range(at, at + 3) if kind == mujoco.mjtJoint.mjJNT_FREE else [at]
    return {name: (np.array(places), least) for name, (places, least) in found.items()}


class _Drawer:
    """What MuJoCo needs to draw one model; an OpenGL context must be current for all it does."""

    def __init__(self, model: Any, largest: int) -> None:
        model.vis.global_.offwidth = model.vis.global_.offheight = largest
        self._model = model
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def draw(self, data: Any, camera: str, size: int) -> np.ndarray:
        """Return the picture of a named camera, right way up, (size, size, 3) uint8."""
        self._camera.fixedcamid = self._model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
        area, image = mujoco.MjrRect(0, 0, size, size), np.empty((size, size, 3), np.uint8)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)  # others may draw between
        mujoco.mjr_render(area, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, area, self._context)
        # OpenGL's rows go upwards; a camera that stands on its head is turned by half a turn on top of it.
        return np.ascontiguousarray(image[:, ::-1] if camera in _UPSIDE_DOWN else image[::-1])

    def free(self) -> None:
        self._context.free()


class Studio:
    """What the environments of a process share: an OpenGL context, goals, and idle scenes.

    A context costs a quarter of a second, a scene and its goals a tenth each, and a scene 30 MB. Every user
    holds the studio, and it goes with the last of them. An idle scene holds nothing of OpenGL. Scenes may
    change hands because `begin` determines an episode whatever the scene was used for before.
    """

    def __init__(self) -> None:
        self._gl: Any = None
        self._idle: dict[tuple[str, bool], list[Scene]] = {}
        self._goals: dict[tuple[str, int], np.ndarray] = {}

    def lend(self, name: str, fast: bool) -> Scene:
        """Return a scene for the caller alone."""
        idle = self._idle.get((name, fast))
        return idle.pop() if idle else Scene(name, fast)

    def take_back(self, scene: Scene) -> None:
        """Keep a scene for the next one who needs it."""
        self.stop_drawing(scene)
        self._idle.setdefault((scene.name, scene.fast), []).append(scene)

    def goals(self, scene: Scene, seed: int) -> np.ndarray:
        """Return `scene.fixed_goals(seed)`."""
        if (scene.name, seed) not in self._goals:
            self._goals[scene.name, seed] = scene.fixed_goals(seed)
        return self._goals[scene.name, seed]

    def draw(self, scene: Scene, camera: str, size: int, largest: int) -> np.ndarray:
        """Return a picture, (size, size, 3) uint8; `largest` is the greatest size that will be asked for."""
        self._make_current()
        if scene.drawer is None:
            scene.drawer = _Drawer(scene.env.model, largest)
        return scene.drawer.draw(scene.env.data, camera, size)

    def stop_drawing(self, scene: Scene) -> None:
        """Free what OpenGL holds of a scene."""
        if scene.drawer is not None:
            self._make_current()
            scene.drawer.free()
            scene.drawer = None

    def free(self) -> None:
        """Free the context; drawing makes a new one."""
        if self._gl is not None:
            self._gl.free()
            self._gl = None

    def __del__(self) -> None:
        self.free()

    def _make_current(self) -> None:
        if self._gl is None:
            self._gl = _new_context()
            atexit.unregister(_free_at_exit)
            atexit.register(_free_at_exit)  # before MuJoCo, which shuts the display down at exit
        self._gl.make_current()


def _new_context() -> Any:
    """Return a current OpenGL context of the kind that MUJOCO_GL names, even if it was set after the import.

    Raises:
        RuntimeError: there is none.
    """
    kind = os.environ.get("MUJOCO_GL", "")
    try:
        module = importlib.import_module(f"mujoco.{kind}") if kind in ("egl", "osmesa") else mujoco
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # GLFW only warns, and MuJoCo then ends the process
            context = module.GLContext(1, 1)  # pictures are drawn into buffers of their own
            context.make_current()
    except (ImportError, AttributeError, Warning) as error:
        raise RuntimeError(f"no OpenGL by MUJOCO_GL={kind}: {error}") from error
    return context


_studio: weakref.ref[Studio] | None = None


def studio() -> Studio:
    """Return this process's studio; it lives as long as somebody holds it."""
    global _studio
    shared = _studio() if _studio is not None else None
    if shared is None:
        shared = Studio()
        _studio = weakref.ref(shared)
    return shared


def _free_at_exit() -> None:
    shared = _studio() if _studio is not None else None
    if shared is not None:
        shared.free()
