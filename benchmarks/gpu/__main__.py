"""Check this machine's GPU: `python -m benchmarks.gpu [--seconds 540] [--out build]`, or `make gpu-check`.

Each line runs in a process of its own with its own time limit, in order of worth; `gpu_check.json` and
`gpu_check.txt` are rewritten after each. `--device cpu` rehearses the lines at toy sizes. Exits with 2 where
there is no CUDA device, with 1 where a line failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.lines import LINES, Line, Options
from benchmarks.gpu.record import Verdict, table, write

LEAST = 15.0
"""Seconds below which no line is begun: importing torch would take most of them."""
HAS_CUDA = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)"


def run_line(line: Line, options: Options, limit: float, folder: Path) -> Verdict:
    """Run a line in a process group of its own and end that group at its limit."""
    result, log = folder / "result.json", folder / "log.txt"
    result.unlink(missing_ok=True)
    more = [] if options.r2dreamer is None else [options.r2dreamer]
    command = [sys.executable, "-m", "benchmarks.gpu.child", line.name, options.device, str(result), *more]
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the compiler's and the environments' processes
        code = process.wait()
    seconds = time.monotonic() - began
    told: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"verdict": "failed"}
    why = told.get("why", "")
    if code != 0:  # also where the line was done and its process then crashed
        told["verdict"] = "failed"
        timed_out = code == -signal.SIGKILL and seconds >= limit
        why = f"stopped after {limit:.0f} s" if timed_out else last_line(log)
    return Verdict(line.name, told["verdict"], round(seconds, 1), why, told.get("found", {}))


def last_line(log: Path) -> str:
    """Last line of what a process wrote that holds something."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it ended without a word"


def check(lines: Sequence[Line], options: Options, seconds: float, out: Path) -> list[Verdict]:
    """Run lines in turn until `seconds` are over; the rest is not run."""
    began = time.monotonic()
    verdicts = [Verdict(line.name, "not run", why="no time left") for line in lines]
    about = {"device": options.device, "seconds": seconds, "rehearsal": options.rehearsal}
    with tempfile.TemporaryDirectory() as folder:
        for number, line in enumerate(lines):
            left = seconds - (time.monotonic() - began)
            if left < min(LEAST, line.limit):
                break
            verdicts[number] = run_line(line, options, min(line.limit, left), Path(folder))
            print(table([verdicts[number]]), end="", flush=True)
            write(out, about, verdicts)
    write(out, about, verdicts)
    return verdicts


def has_cuda() -> bool:
    """Whether torch sees a device, asked in another process: drivers can hang."""
    try:
        return subprocess.run([sys.executable, "-c", HAS_CUDA], timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main() -> int:
    """Run, and say how it went by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=540.0, help="for all lines together")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of both files")
    parser.add_argument("--r2dreamer", help="folder of its clone")
    parser.add_argument("--only", default="", metavar="TEXT", help="lines whose name holds this")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not has_cuda():
        print(
            "No CUDA device that torch can use: run on a machine that has one, or rehearse with --device cpu."
        )
        return 2
    lines = [line for line in LINES if arguments.only in line.name]
    options = Options(arguments.device, arguments.r2dreamer)
    verdicts = check(lines, options, arguments.seconds, arguments.out)
    print(f"{arguments.out / 'gpu_check.txt'} and gpu_check.json hold all of it.")
    return int(any(verdict.verdict == "failed" for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
