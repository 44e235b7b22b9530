"""How far a run is: a bar for whoever watches, and status.json for whoever looks later."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tqdm import tqdm

from training.config import RunConfig
from training.storage.state_tree import publish_json


class Status:
    """Progress bar, and status.json for whoever watches the run from outside."""

    EVERY = 2.0

    def __init__(self, run_dir: Path, config: RunConfig, progress: bool) -> None:
        self.path = run_dir / "status.json"
        self.steps = config.steps
        self.offline = config.training.offline_updates
        self._written = 0.0
        self._began = False
        self._bar = tqdm(
            total=config.steps,
            unit="step",
            desc=config.phase,
            disable=not progress,
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 20.0,  # a log file needs no more
        )

    def report(self, env_step: int, updates: int, seconds: float) -> None:
        """Move the bar; rewrite status.json every two seconds."""
        done = min(env_step, self.steps)
        if not self._began:  # steps of an earlier sitting say nothing of this one's speed
            self._began = True
            self._bar.initial = self._bar.n = self._bar.last_print_n = done
        before = f"{updates:,} of {self.offline:,} updates" if env_step == 0 else ""
        before += " before it" if before and self.steps else ""
        self._bar.set_postfix_str(before, refresh=False)
        self._bar.update(done - self._bar.n)
        if time.monotonic() - self._written > self.EVERY:
            self.write("running", env_step, updates, seconds)

    def write(self, state: str, env_step: int, updates: int, seconds: float) -> None:
        """Write status.json."""
        self._written = time.monotonic()
        rate = env_step / seconds if seconds > 0 else 0.0
        left = (self.steps - env_step) / rate if rate > 0 else None
        publish_json(
            self.path,
            {
                "state": state,
                "env_step": env_step,
                "steps": self.steps,
                "updates": updates,
                "wall_seconds": seconds,
                "steps_per_second": rate,
                "seconds_left": left,
            },
            durable=False,
        )

    def close(self) -> None:
        """Finish the bar."""
        self._bar.close()
