"""What a program uses: `import expedition` offers these names and no others (docs/library.md).

They live in the rooms above, which import this one: each is fetched when it is asked for first (PEP 562).
Their types stand in `__init__.pyi`.
"""

import importlib
from importlib import metadata
from typing import Any

from expedition.errors import UserError

__all__ = [
    "Dream",
    "Explorer",
    "IntrinsicReward",
    "Prediction",
    "Seen",
    "Sequences",
    "UserError",
    "__version__",
    "finetune",
    "load",
    "pretrain",
    "run_study",
]

_PLACES = {
    "Dream": "experiments.library.explorer",
    "Explorer": "experiments.library.explorer",
    "IntrinsicReward": "exploration",
    "Prediction": "world_model.prediction",
    "Seen": "world_model.prediction",
    "Sequences": "exploration",
    "finetune": "experiments.library.runs",
    "load": "experiments.library.explorer",
    "pretrain": "experiments.library.runs",
    "run_study": "experiments.library.runs",
}

try:
    __version__ = metadata.version("expedition")
except metadata.PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Fetch a public name from where it lives."""
    if name not in _PLACES:
        raise AttributeError(f"module 'expedition' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """The public names alone."""
    return __all__
