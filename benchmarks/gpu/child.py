"""One line in a process of its own: `python -m benchmarks.gpu.child NAME DEVICE RESULT [R2DREAMER]`.

RESULT is a file: what was found is there after every part, so that a hang or a crash costs only the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.gpu.lines import LINES, Line, NotRun, Options
from benchmarks.gpu.record import publish


def carry_out(line: Line, options: Options, result: Path) -> None:
    """Run a line and keep its verdict and what it found in `result`.

    Raises:
        Exception: the line failed.
    """
    found: dict[str, object] = {}
    try:
        for part in line.measure(options):
            found |= part
            publish(result, {"verdict": "failed", "found": found})
    except NotRun as reason:
        publish(result, {"verdict": "not run", "why": str(reason), "found": found})
        return
    publish(result, {"verdict": "passed", "found": found})


def main() -> None:
    """Find the line and run it."""
    name, device, result, *more = sys.argv[1:]
    line = next(line for line in LINES if line.name == name)
    carry_out(line, Options(device, *more), Path(result))


if __name__ == "__main__":
    main()
