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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.config import differences

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")
CASES = ("tiny-vectors", "tiny-pixels", "tiny-disagreement", "M-strided", "acting")
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


def in_turns(here: Tree, there: Tree, case: str, turns: int) -> dict[str, Any]:
    """Medians of both, and of the turns' ratios, in CPU-seconds of one piece of work."""
    count = BLOCKS[case]
    pairs = [(here.work(count)[0], there.work(count)[0]) for _ in range(turns + WARMUP)][WARMUP:]
    ours, theirs = zip(*pairs, strict=True)
    ratios = [one / two for one, two in pairs]
    return {
        "cpu_seconds": statistics.median(ours),
        "cpu_seconds_against": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def first_update(root: Path, case: str, cache: Path) -> float:
    """Wall seconds of the first compiled update of a fresh process."""
    tree = Tree(root, case, "compiled", cache)
    try:
        return tree.work(1)[1]
    finally:
        tree.close()


def compile_times(root: Path, case: str, name: str) -> dict[str, float]:
    """The same with an empty cache, and with the one that this filled; told at once, for it takes minutes."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("empty", "warm"):
            seconds = first_update(root, case, Path(folder))
            print(f"{name}, {state} cache: {seconds:.1f} s", file=sys.stderr, flush=True)
            found[f"{name}_{state}_cache_seconds"] = seconds
    return found


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """This tree beside the revision that the arguments name."""
    case = arguments.case
    # Whoever ends it, as `timeout` does, must not leave the worktree behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with checked_out(arguments.against) as tree, contextlib.ExitStack() as stack:
        commit = subprocess.check_output(["git", "-C", str(tree), "rev-parse", "HEAD"], text=True)
        found: dict[str, Any] = {"case": case, "mode": arguments.mode, "against": commit.strip()[:10]}
        if arguments.compile_time:
            if case == "acting":
                raise SystemExit("Acting is not compiled: leave --compile-time out, or name another case.")
            return (
                found
                | compile_times(ROOT, case, "first_update")
                | compile_times(tree, case, "first_update_against")
            )
        both = [Tree(root, case, arguments.mode) for root in (ROOT, tree)]
        for process in both:
            stack.callback(process.close)
        # A preset may have changed between the two: then the work is not the same.
        found["settings_that_differ"] = differences(both[0].config, both[1].config)
        return found | in_turns(both[0], both[1], case, arguments.turns)
