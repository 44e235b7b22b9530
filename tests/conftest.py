"""One thread a process: the tests' tensors are small, and threads that wait for each other only cost time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for this process, before torch, and for those it starts
