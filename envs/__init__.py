"""Where to act: environments by name, brought to one shape and stepped side by side."""

from envs.adapter import Adapter, adapt, shown_actions, shown_observations
from envs.captions import DID, SCENE, Words
from envs.cloning import Branch, Simulator, branches
from envs.failures import EnvironmentFailed
from envs.registry import (
    EnvironmentInfo,
    charts,
    environment_info,
    environment_words,
    environments,
    make,
    suites,
)
from envs.stepping.lane import REACHED, TASK, Rows
from envs.stepping.vector import SerialVectorEnv, VectorEnv
from envs.stepping.workers import WorkerVectorEnv, choose_workers, cores, make_vector
from envs.suite import Chart, Option, Suite, Task, with_options

__all__ = [
    "Adapter",
    "Branch",
    "DID",
    "Chart",
    "EnvironmentFailed",
    "EnvironmentInfo",
    "REACHED",
    "SCENE",
    "TASK",
    "Option",
    "Rows",
    "SerialVectorEnv",
    "Simulator",
    "Suite",
    "Task",
    "VectorEnv",
    "Words",
    "WorkerVectorEnv",
    "adapt",
    "branches",
    "charts",
    "choose_workers",
    "cores",
    "environment_info",
    "environment_words",
    "environments",
    "make",
    "make_vector",
    "shown_actions",
    "shown_observations",
    "suites",
    "with_options",
]
