"""Meta-World against the package's `gymnasium.make("Meta-World/MT1")`, drawing 64x64 pixels or nothing."""

from collections.abc import Callable

from benchmarks.cases import Case, elsewhere
from envs.suites.robotics.mujoco import prepare_rendering

_PLAIN = """
import sys
import gymnasium
import metaworld
import numpy as np

scene, pixels = sys.argv[1], sys.argv[2] == "pixels"
drawing = {"render_mode": "rgb_array", "camera_name": "corner2", "width": 64, "height": 64} if pixels else {}
env = gymnasium.make("Meta-World/MT1", env_name=scene, seed=0, disable_env_checker=True, **drawing)
env.reset(seed=0)
rng = np.random.default_rng(0)
for _ in sys.stdin:
    _, _, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 4).astype(np.float32))
    if terminated or truncated:
        env.reset()
    if pixels:
        env.render()
    print(flush=True)
env.close()
"""


def _plain(scene: str, show: str) -> Callable[[], Callable[[], None]]:
    """The package in an interpreter of its own: it counts on no one else to use OpenGL."""

    def build() -> Callable[[], None]:
        prepare_rendering()
        return elsewhere(_PLAIN, scene, show)

    return build


CASES = (
    Case(
        "Meta-World drawer-open, fast pixels",
        "metaworld-drawer-open-v3,render=fast",
        _plain("drawer-open-v3", "pixels"),
        ratio=8.0,
    ),
    Case(
        "Meta-World drawer-open, faithful pixels",
        "metaworld-drawer-open-v3",
        _plain("drawer-open-v3", "pixels"),
    ),
    Case(
        "Meta-World reach, state",
        "metaworld-reach-v3,observe=state",
        _plain("reach-v3", "state"),
        num_envs=4,
        ratio=0.95,
    ),
)
