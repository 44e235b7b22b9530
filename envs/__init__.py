"""Where to act: environments by name, brought to one shape and stepped side by side."""

from envs.adapter import Adapter, adapt
from envs.registry import EnvironmentInfo, environment_info, environments, make
from envs.vector import Rows, SerialVectorEnv, VectorEnv, make_vector

__all__ = [
    "Adapter",
    "EnvironmentInfo",
    "Rows",
    "SerialVectorEnv",
    "VectorEnv",
    "adapt",
    "environment_info",
    "environments",
    "make",
    "make_vector",
]
