"""How far a study is, on the terminal: a bar, or a line now and then."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from experiments.reporting.report import duration
from experiments.studies.runs import PlannedRun

LOOK_SECONDS, TELL_SECONDS = 0.5, 20.0
TELLING = 0.005
"""Share of the steps from which on their speed says how long the rest takes: compiling is over by then."""


class Bar:
    """One bar over the steps of all runs; where nobody watches a terminal, a line now and then."""

    def __init__(self, runs: list[PlannedRun], folder: Path, say: Callable[[str], None]) -> None:
        self.runs, self.folder, self.say = runs, folder, say
        self.total = sum(run.config.steps for run in runs)
        self.terminal = sys.stderr.isatty()
        self.began = self.told = time.monotonic()
        self.looked, self.first = 0.0, self._done()
        self.bar = tqdm(
            total=self.total, initial=self.first, unit="step", disable=not self.terminal, dynamic_ncols=True
        )

    def _done(self) -> int:
        return sum(min(self._step(run), run.config.steps) for run in self.runs)

    def _step(self, run: PlannedRun) -> int:
        return self._said(run, "env_step")

    def _said(self, run: PlannedRun, count: str) -> int:
        path = self.folder / run.id / "status.json"
        try:  # it only moves a bar: a broken one is no reason to stop
            return int(json.loads(path.read_text())[count])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _name(self, run: PlannedRun) -> str:
        """The run, and how much it has learned from data, which no step tells."""
        whole = run.config.training.offline_updates
        if not whole or self._step(run):
            return run.label
        return f"{run.label} ({self._said(run, 'updates'):,} of {whole:,} updates on data)"

    def update(self, active: list[PlannedRun]) -> None:
        """Show how far the runs are."""
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        done = self._done()
        names = ", ".join(map(self._name, active))
        self.bar.set_description_str(names or "waiting", refresh=False)
        self.bar.update(done - self.bar.n)
        now = time.monotonic()
        if not self.terminal and active and now - self.told > TELL_SECONDS:
            self.told = now
            self.say(f"  {done:,} of {self.total:,} steps, {self._pace(done, now)}: {names}")

    def _pace(self, done: int, now: float) -> str:
        """How fast this sitting is, and when it would end."""
        made = done - self.first
        if not made or made < TELLING * (self.total - self.first):
            return "starting"
        speed = made / (now - self.began)
        return f"{speed:.0f} steps/s, {duration((self.total - done) / speed)} left"

    def close(self) -> None:
        """Finish the bar."""
        self.bar.close()
