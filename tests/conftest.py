"""What must be set before torch and MuJoCo are imported, whoever imports them first."""

import logging
import os
import sys

import pytest

# One thread a process: the tests' tensors are small, and threads that wait for each other only cost time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")


@pytest.fixture(scope="session")
def compiles():
    """Skip where nothing can be compiled: tried when a test asks for it, for it takes seconds."""
    from agents.programs.compiler import missing

    logging.getLogger("torch.__trace").propagate = False  # pytest would keep each of its thousands of records
    why = missing("cpu")
    if why is not None:
        pytest.skip(why)
