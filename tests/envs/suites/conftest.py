"""Suites that draw with MuJoCo are left out where this machine has no headless renderer."""

import functools
import subprocess
import sys

import pytest

DRAWN = ("test_dmc.py", "test_metaworld.py", "test_robodesk.py", "test_robodesk_rewards.py")
_TRY = (
    "from envs.suites.robotics.mujoco import prepare_rendering; prepare_rendering(); "
    "import mujoco; mujoco.GLContext(8, 8).make_current()"
)


@functools.cache
def can_draw():
    return subprocess.run([sys.executable, "-c", _TRY], capture_output=True, check=False).returncode == 0


def pytest_collection_modifyitems(items):
    drawn = [item for item in items if item.path.name in DRAWN]
    if drawn and not can_draw():
        for item in drawn:
            item.add_marker(pytest.mark.skip(reason="this machine has no renderer that MuJoCo can use"))
