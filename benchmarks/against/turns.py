"""Check a revision out beside this tree and let both do the same work in turns."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.config import differences

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")
CASES = ("tiny-vectors", "tiny-pixels", "tiny-disagreement", "M-strided", "acting")
MODES = ("eager", "compiled")
BLOCKS = {"tiny-vectors": 10, "tiny-pixels": 5, "tiny-disagreement": 3, "M-strided": 1, "acting": 200}
"""Pieces of work in a block: a second or so, long against a change of turn and short against the weather."""
WARMUP = 2
"""Blocks of each tree that are not counted: a process takes its memory in them."""


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A worktree of `revision`, removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        # The name alone would move a branch's worktree here, and git refuses that.
        added = subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=False)
        if added.returncode != 0:
            raise SystemExit(f"'{revision}' cannot be checked out: name a commit of this repository.")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


class Tree:
    """A process that works in one tree.

    Args:
        root: the tree.
        case: one of CASES.
        mode: of its updates.
        cache: where it keeps what it compiled; None for torch's own choice.
    """

    def __init__(self, root: Path, case: str, mode: str, cache: Path | None = None) -> None:
        settings = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        if cache is not None:
            settings["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), case, mode],
            cwd=root,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            told = self._told()
            # A package that is installed must not stand in for the tree unseen.
            assert Path(told["root"]) == root.resolve(), f"it runs the code in {told['root']}"
            self.config: dict[str, Any] = told["config"]
        except BaseException:
            self.close()
            raise

    def work(self, count: int) -> tuple[float, float]:
        """CPU-seconds and wall seconds of one of `count` pieces of work."""
        assert self._process.stdin is not None
        print(count, file=self._process.stdin, flush=True)
        cpu, wall = self._told()
        return cpu, wall

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _told(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("A process ended before it told its time: look at what it wrote above.")
        return json.loads(line)


def in_turns(trees: Mapping[str, Tree], case: str, turns: int) -> dict[str, Any]:
    """CPU-seconds of one piece of work in each tree, and the ratios over the last tree's, turn by turn."""
    count = BLOCKS[case]
    rounds = [[tree.work(count)[0] for tree in trees.values()] for _ in range(turns + WARMUP)][WARMUP:]
    times = dict(zip(trees, zip(*rounds, strict=True), strict=True))
    found: dict[str, Any] = {f"cpu_seconds {name}": statistics.median(spent) for name, spent in times.items()}
    *ours, theirs = times
    for name in ours:
        ratios = [one / two for one, two in zip(times[name], times[theirs], strict=True)]
        found[f"ratio {name}"] = statistics.median(ratios)
        found[f"ratios {name}"] = [round(ratio, 3) for ratio in ratios]
    return found


def compile_times(case: str) -> dict[str, Any]:
    """Wall seconds of a fresh process's first compiled work: with an empty cache, and with the filled one."""
    found: dict[str, Any] = {"case": case}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("empty", "warm"):
            tree = Tree(ROOT, case, "compiled", Path(folder))
            try:
                found[f"first_seconds {state} cache"] = seconds = tree.work(1)[1]
            finally:
                tree.close()
            print(f"{state} cache: {seconds:.1f} s", file=sys.stderr, flush=True)  # at once: it takes minutes
    return found


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """This tree, in some modes, beside the revision that the arguments name."""
    # Whoever ends it, as `timeout` does, must not leave the worktree behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    case, modes = arguments.case, arguments.modes
    if arguments.compile_time:
        return compile_times(case)
    with checked_out(arguments.against) as root, contextlib.ExitStack() as stack:
        commit = subprocess.check_output(
            ["git", "-C", str(root), "rev-parse", "--short=10", "HEAD"], text=True
        )
        places = {mode: (ROOT, mode) for mode in modes} | {commit.strip(): (root, "eager")}
        trees = {}
        for name, (place, mode) in places.items():
            trees[name] = Tree(place, case, mode)
            stack.callback(trees[name].close)
        # A preset may have changed between the two: then the work is not the same.
        changed = differences(trees[modes[0]].config, trees[commit.strip()].config)
        return {
            "case": case,
            "settings_that_differ": changed,
            **in_turns(trees, case, arguments.turns),
            "load": [round(each, 1) for each in os.getloadavg()],
        }
