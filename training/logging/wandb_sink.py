"""A run's metrics at Weights & Biases."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.config import RunConfig
from training.logging.artifacts import Artifact
from training.logging.sinks import EPISODES, METRICS, JsonlSink, MultiSink, Sink
from training.logging.wandb_run import WandbRun, medium
from training.process.logistics import Logistics
from training.storage.folder import read_json, read_settings
from training.storage.state_tree import plain, publish_json


class WandbSink:
    """Logs a run's metrics and episodes to W&B, each line of its JSONL files as one row.

    The JSONL files are the truth: cut to the checkpoint from which a run goes on, they are told again to
    begin with, and rows that the server has are passed over. So a run that was killed at any place, or was
    not logged here before, has one curve without a gap or a double.

    Args:
        run: where to; its folder is that of the JSONL files.
    """

    def __init__(self, run: WandbRun) -> None:
        self.run, self._line = run, 0
        if run.mode != "off":
            for kind, line in _logged(run.folder):
                step = line.pop("env_step")
                self._metrics(step, line) if kind == METRICS else self.episode(step, line)

    def write(self, step: int, metrics: Mapping[str, float], media: Mapping[str, Path] | None = None) -> None:
        """Log metrics, and media by their paths, at an environment step."""
        files = {name: path for name, path in (media or {}).items() if path.exists()}
        self._row(step, lambda: {**metrics, **{name: medium(path) for name, path in files.items()}})

    def episode(self, step: int, summary: Mapping[str, Any]) -> None:
        """Log an episode's numbers under `episode/`."""
        values = {f"episode/{name}": value for name, value in plain(summary).items() if _is_number(value)}
        self._row(step, lambda: values)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set values of the run's summary."""
        self.run.summary(values)

    def artifact(self, artifact: Artifact, used: bool = False) -> None:
        """Log an artifact that the run made or uses."""
        self.run.artifact(artifact, used)

    def close(self) -> None:
        """Finish the run; online, this waits for the upload."""
        self.run.close()

    def _metrics(self, step: int, line: dict[str, Any]) -> None:
        """Tell a line of metrics again; what was no number is null there."""
        media = {name: self.run.folder / path for name, path in line.pop("media", {}).items()}
        self.write(step, {name: value for name, value in line.items() if value is not None}, media)

    def _row(self, step: int, values: Any) -> None:
        self._line += 1
        if self._line > self.run.rows:
            self.run.log(step, values)


def _logged(run_dir: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines of a run's JSONL files as they were logged: by step, episodes before metrics of their step."""
    lines = [
        (name, json.loads(line))
        for name in (EPISODES, METRICS)
        if (run_dir / name).exists()
        for line in (run_dir / name).read_text(encoding="utf-8").splitlines()
    ]
    yield from sorted(lines, key=lambda line: line[1]["env_step"])  # stable


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not (isinstance(value, float) and math.isnan(value))


def open_sinks(config: RunConfig, run_dir: Path, logistics: Logistics) -> Sink:
    """Open what a run's metrics are written to; its JSONL files are cut to its checkpoint before."""
    sinks: list[Sink] = [JsonlSink(run_dir)]
    if logistics.wandb != "off":
        tags = [config.phase, config.intrinsic or "task reward", *logistics.tags]
        run = WandbRun(
            run_dir,
            project=logistics.project,
            group=logistics.group,
            name=run_dir.name,
            run_id=wandb_id(run_dir),
            job_type=config.phase,
            tags=[tag[:64] for tag in dict.fromkeys(tags)],  # W&B takes no longer ones
            config=read_settings(run_dir),
            mode=logistics.wandb,
        )
        sinks.append(WandbSink(run))
    return MultiSink(sinks)


def wandb_id(run_dir: Path) -> str:
    """Id of a run at W&B: drawn once and kept, for two runs of one name must not become one there.

    Where a sweep's agent started the run, its id is the agent's.
    """
    path = run_dir / "wandb_id.json"
    given = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
    if given:
        publish_json(path, {"id": given})
    elif not path.exists():
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in run_dir.resolve().name)
        publish_json(path, {"id": f"{name[:80]}-{secrets.token_hex(4)}"})
    return str(read_json(path, "delete it and run the same command again")["id"])
