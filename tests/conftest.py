"""What must be set before torch and MuJoCo are imported, whoever imports them first."""

import os
import sys

# One thread a process: the tests' tensors are small, and threads that wait for each other only cost time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")
