"""The lines of the check, in order of worth: a cut leaves the first ones. Nothing here imports torch."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class NotRun(Exception):
    """A line cannot be asked here; says why."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What every line is told."""

    device: str
    """cuda; or cpu, a rehearsal at toy sizes."""
    r2dreamer: str | None = None
    """Folder of its clone."""

    @property
    def rehearsal(self) -> bool:
        """Whether only the script is tried."""
        return self.device == "cpu"


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: a function of options and settings that yields what it found, part by part."""

    name: str
    limit: float
    """Seconds after which it is stopped; what it yielded until then is kept."""
    function: str
    """module:name within this package."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def measure(self, options: Options) -> Iterator[dict[str, Any]]:
        """Run it here.

        Raises:
            NotRun: it cannot be asked here.
            Exception: it failed.
        """
        module, _, name = self.function.partition(":")
        found = importlib.import_module(f"{__package__}.{module}")
        return getattr(found, name)(options, **self.settings)


def _speed(size: str, precision: str, modes: tuple[str, ...], limit: float, observe: str = "pixels") -> Line:
    name = f"update {size} {observe} {precision}: {', '.join(modes)}"
    settings = {"size": size, "observe": observe, "precision": precision, "modes": modes}
    return Line(name, limit, "speed:updates", settings)


def _loop(size: str, env: str, limit: float) -> Line:
    return Line(
        f"loop {size} {env}: with and without overlap", limit, "speed:loop", {"size": size, "env": env}
    )


QUICK, COMPILED = ("eager", "captured"), ("compiled",)
LINES = (
    Line("device", 60, "speed:device"),
    Line("losses and gradients equal the CPU's", 60, "numerics:losses"),
    Line("eager updates equal the CPU's", 60, "numerics:updates", {"mode": "eager"}),
    # The first line that compiles, as capturing does too; those below find some of it in the cache.
    Line("captured updates equal the CPU's", 120, "numerics:updates", {"mode": "captured"}),
    Line("a resumed run equals one that never stopped", 90, "runs:resume"),
    _speed("1m", "bf16", QUICK, 90, "vector"),
    _speed("12m", "bf16", QUICK, 90),
    Line("8 fused seeds of 1m", 90, "speed:fused"),
    Line("r2dreamer compiled, width M", 150, "speed:r2dreamer"),
    Line("learning: Catch from vectors", 100, "runs:learning"),
    Line("compiled updates equal the CPU's", 90, "numerics:updates", {"mode": "compiled"}),
    _speed("100m", "bf16", QUICK, 90),
    _speed("1m", "fp32", QUICK, 90, "vector"),
    _loop("1m", "catch-vector", 90),
    _speed("1m", "bf16", COMPILED, 60, "vector"),
    _loop("12m", "catch-pixels", 90),
    _speed("12m", "fp32", QUICK, 90),
    _speed("100m", "fp32", QUICK, 90),
    _loop("100m", "catch-pixels", 90),
    _speed("12m", "bf16", COMPILED, 60),
    _speed("1m", "fp32", COMPILED, 60, "vector"),
    _speed("12m", "fp32", COMPILED, 60),
    _speed("100m", "bf16", COMPILED, 60),
    _speed("100m", "fp32", COMPILED, 60),
)
