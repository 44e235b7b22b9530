"""The package's desk as the adapter needs it: read at once for every task's reward, and drawn faster.

Importing this needs `robodesk` and dm_control, which loads its renderer at once.
"""

import functools
from typing import Any

import absl.logging
import gymnasium
import mujoco
import numpy as np
from PIL import Image

from envs.suites.imports import known_as
from envs.suites.robotics.mujoco import draw_fast
from envs.suites.robotics.robodesk_rewards import BLOCKS, COLOURS, Scene

# It wants the old gym, of which it takes no more than gymnasium has.
with known_as({"gym": gymnasium}):
    import robodesk

# The package draws (120, 120) and cuts this out of it: columns from the left, rows from the bottom.
_DRAWN = 120
_LEFT, _RIGHT, _BOTTOM, _TOP = 17, 105, 31, 95
_ARM, _MOST_GEOMS = 9, 200

_LOG = absl.logging.get_absl_logger()


def _nothing(record: Any) -> bool:
    """Let no message through."""
    return False


def _substep(model: Any, data: Any) -> None:
    """Do what dm_control's `physics.step` does, but for looking each time whether it has diverged."""
    mujoco.mj_step2(model, data)
    mujoco.mj_step1(model, data)


class Desk(robodesk.RoboDesk):
    """The package's desk, with its own physics and rewards; it observes nothing by itself.

    `reset` draws from numpy's global generator, as the package's does.
    """

    def __init__(self, task: str, reward: str, mended: bool) -> None:
        """Load the model; `mended` remembers where the blocks began, which the package means to do."""
        super().__init__(task=task, reward=reward)
        self._mended = mended
        self.original_pos: dict[str, np.ndarray] = {}
        model, data = self.physics.model, self.physics.data
        self._numbers = {
            kind: [model.name2id(name, kind) for name in names]
            for kind, names in {
                "site": ("end_effector", "slide_handle"),
                "body": (*BLOCKS, *(f"{colour}_button" for colour in COLOURS)),
                "joint": ("slide_joint", "drawer_joint", *(f"{colour}_light" for colour in COLOURS)),
            }.items()
        }
        self._joints = model.jnt_qposadr[self._numbers["joint"]].tolist()
        self._drawer = model.name2id("drawer_handle", "geom")
        # Views of the simulation's memory; looking them up costs more than reading them.
        self._sites, self._bodies, self._geoms = data.site_xpos, data.xpos, data.geom_xpos
        self._qpos, self._qvel = data.qpos, data.qvel
        self.physics.step = functools.partial(_substep, model.ptr, data.ptr)

    def step(self, action: np.ndarray) -> tuple[None, float, bool, dict[str, Any]]:
        """Act for one of the package's steps, ten of the simulation.

        Raises:
            dm_control.rl.control.PhysicsError: the simulation has diverged.
        """
        with self.physics.check_invalid_state():
            return super().step(action)

    def reset(self) -> None:
        """Begin an episode."""
        super().reset()
        if self._mended:
            self.original_pos = {name: position.copy() for name, position in self.original_pos.items()}

    def state(self) -> np.ndarray:
        """Return the package's observation without the picture, float32.

        Joints of arm and gripper (9,), their velocities (9,), hand (3,), positions of all else, velocities of
        all else (26,). In place of those positions, (29,), the package puts the velocities once more.
        """
        others = self._qvel[_ARM:]
        positions = self._qpos[_ARM:] if self._mended else others
        parts = self._qpos[:_ARM], self._qvel[:_ARM], self._sites[self._numbers["site"][0]], positions, others
        return np.concatenate(parts).astype(np.float32)

    def scene(self) -> Scene:
        """Return where everything is that rewards depend on."""
        hand, slide_handle = self._sites[self._numbers["site"]].tolist()
        bodies = self._bodies[self._numbers["body"]].tolist()
        slide, drawer, *lights = self._qpos[self._joints].tolist()
        return Scene(
            hand=hand,
            slide=slide,
            slide_handle=slide_handle,
            drawer=drawer,
            drawer_handle=self._geoms[self._drawer].tolist(),
            buttons=dict(zip(COLOURS, bodies[len(BLOCKS) :], strict=True)),
            lights=dict(zip(COLOURS, lights, strict=True)),
            blocks=dict(zip(BLOCKS, bodies, strict=False)),
        )

    def close(self) -> None:
        """Free the simulation."""
        self.physics_copy.free()
        self.physics.free()

    def _get_obs(self) -> None:
        """Draw nothing: the adapter asks for what it needs."""

    def _ik(self, pos: np.ndarray) -> np.ndarray:
        # Where the arm must go doesn't depend on what touches what, and finding that out takes a while. That
        # it gets no nearer is no news: a hand that is pulled out of reach says so at every step.
        _LOG.addFilter(_nothing)
        try:
            with self.physics.model.disable("contact", "constraint"):
                return super()._ik(pos)
        finally:
            _LOG.removeFilter(_nothing)


class Painter:
    """Draws a desk as the package does, with one scene and no more of the picture than the package keeps."""

    def __init__(self, physics: Any, fast: bool) -> None:
        """Set the model up for drawing; `fast`: see `envs.suites.robotics.mujoco.draw_fast`."""
        self._physics, self._fast = physics, fast
        model = physics.model
        if fast:
            draw_fast(model)
            model.vis.quality.shadowsize = 0  # 64 MB for shadows that nothing casts
        model.vis.global_.offwidth, model.vis.global_.offheight = _RIGHT, _TOP
        self._scale = 1
        self._scene = mujoco.MjvScene(model.ptr, _MOST_GEOMS)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model.ptr, self._camera)
        self._camera.distance, self._camera.azimuth, self._camera.elevation = 1.8, 90, -60
        self._camera.lookat[:] = 0, 0.535, 1.1

    def draw(self, size: int, scale: int = 1) -> np.ndarray:
        """Return the picture, (size, size, 3) uint8, from one of `scale` times the package's sharpness.

        Raises:
            RuntimeError: there is nothing to draw with.
        """
        try:
            contexts = self._physics.contexts  # made when they are first asked for
            with contexts.gl.make_current() as thread:
                image = thread.call(self._draw, contexts, scale)
        except mujoco.FatalError as error:
            raise RuntimeError(str(error)) from error
        resized = Image.fromarray(image[::-1]).resize((size, size), Image.Resampling.LANCZOS)
        return np.array(resized)

    def take_context(self) -> None:
        """Make the OpenGL context current, if there is one: the simulation's `free` frees what is in it."""
        contexts = self._physics._contexts
        if contexts is not None:
            with contexts.gl.make_current() as thread:
                thread.call(contexts.gl._platform_make_current)

    def _draw(self, contexts: Any, scale: int) -> np.ndarray:
        contexts.gl._platform_make_current()  # dm_control doesn't know of other renderers in the process
        context, scene, model = contexts.mujoco.ptr, self._scene, self._physics.model.ptr
        if scale != self._scale:
            mujoco.mjr_resizeOffscreen(scale * _RIGHT, scale * _TOP, context)
            self._scale = scale
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            model, self._physics.data.ptr, self._option, None, self._camera, everything, scene
        )
        if not self._fast:
            _cut_the_floors_shadow(scene)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        mujoco.mjr_render(mujoco.MjrRect(0, 0, scale * _DRAWN, scale * _DRAWN), scene, context)
        width, height = scale * (_RIGHT - _LEFT), scale * (_TOP - _BOTTOM)
        image = np.empty((height, width, 3), np.uint8)
        kept = mujoco.MjrRect(scale * _LEFT, scale * _BOTTOM, width, height)
        mujoco.mjr_readPixels(image, None, kept, context)
        return image


def _cut_the_floors_shadow(scene: Any) -> None:
    """Let only the part of the floor that is in the picture cast a shadow.

    The floor fills every light's shadow map, 4096 by 4096, and nothing below it is seen. Where something
    stands on it the edges do depend on its shadow, so an invisible plane casts it there in its stead.
    """
    floor, stand_in = scene.geoms[0], scene.geoms[scene.ngeom]
    floor.category = mujoco.mjtCatBit.mjCAT_DECOR
    plane, size, middle = mujoco.mjtGeom.mjGEOM_PLANE, np.array([1.3, 1.0, 0.1]), np.array([0, 1.3, 0])
    mujoco.mjv_initGeom(stand_in, plane, size, middle, np.eye(3).ravel(), np.zeros(4, np.float32))
    stand_in.category = mujoco.mjtCatBit.mjCAT_STATIC
    scene.ngeom += 1
