"""Where metrics go: JSON lines always, Weights & Biases where asked for (`training.logging.wandb_sink`)."""

import errno
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from training.logging.artifacts import Artifact
from training.storage.state_tree import disk_errors, plain, sync, write_json, written_aside

METRICS = "metrics.jsonl"
EPISODES = "episodes.jsonl"
SUMMARY = "summary.json"
JUDGED = "evaluation/"
"""Begins the names of what evaluations during training and at its end measured. The last one comes after the
last checkpoint and at its step."""

_KEPT = "checkpoints that were there before are intact"


class Sink(Protocol):
    """Takes what a run measures. Steps are environment steps and never decrease within one process."""

    def write(self, step: int, metrics: Mapping[str, float], media: Mapping[str, Path] | None = None) -> None:
        """Record metrics at a step, with the paths of images (.png) and videos (.gif) made there."""

    def episode(self, step: int, summary: Mapping[str, Any]) -> None:
        """Record one finished episode: its return, length and what the suite says of it."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record what the run came to; later values replace earlier ones of the same name."""

    def artifact(self, artifact: Artifact, used: bool = False) -> None:
        """Record that the run made an artifact, or uses one."""

    def close(self) -> None:
        """Flush and let go; calling it twice does no harm."""


class JsonlSink:
    """Writes `metrics.jsonl` and `episodes.jsonl`, an object a line, `env_step` first, and `summary.json`.

    NaN and infinities are written as null, which strict JSON has. Each line reaches the system at once.

    Args:
        run_dir: the run's folder; made if missing. On resume call `truncate_after` before.

    Raises:
        UserError: the disk refuses, here or in any method.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        with disk_errors("the metrics", run_dir, _KEPT):
            run_dir.mkdir(parents=True, exist_ok=True)
            self._metrics = _open(run_dir / METRICS)
            self._episodes = _open(run_dir / EPISODES)
        self._summary: dict[str, Any] = _read_summary(run_dir / SUMMARY)

    def write(self, step: int, metrics: Mapping[str, float], media: Mapping[str, Path] | None = None) -> None:
        """Append one line of metrics; media are named under `media` by their path from the run's folder."""
        line: dict[str, Any] = {"env_step": step, **plain(metrics)}
        if media:
            line["media"] = {name: os.path.relpath(path, self.run_dir) for name, path in media.items()}
        self._append(self._metrics, line)

    def episode(self, step: int, summary: Mapping[str, Any]) -> None:
        """Append one line for an episode that ended at this step."""
        self._append(self._episodes, {"env_step": step, **plain(summary)})

    def summary(self, values: Mapping[str, Any]) -> None:
        """Add to `summary.json`, which is written anew aside and renamed."""
        self._summary.update(plain(values))
        with disk_errors("the summary", self.run_dir, _KEPT), written_aside(self.run_dir / SUMMARY) as aside:
            write_json(aside, self._summary)

    def artifact(self, artifact: Artifact, used: bool = False) -> None:
        """Write nothing: checkpoints and `transfer.json` say it already."""

    def close(self) -> None:
        """Close both files."""
        self._metrics.close()
        self._episodes.close()

    def _append(self, file: FileIO, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        with disk_errors("the metrics", self.run_dir, _KEPT):
            if file.write(data) != len(data):  # unbuffered files write short when the disk fills up
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class MultiSink:
    """Hands everything to several sinks, in order."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self.sinks: Sequence[Sink] = tuple(sinks)

    def write(self, step: int, metrics: Mapping[str, float], media: Mapping[str, Path] | None = None) -> None:
        """Write to each sink."""
        for sink in self.sinks:
            sink.write(step, metrics, media)

    def episode(self, step: int, summary: Mapping[str, Any]) -> None:
        """Give the episode to each sink."""
        for sink in self.sinks:
            sink.episode(step, summary)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Give the summary to each sink."""
        for sink in self.sinks:
            sink.summary(values)

    def artifact(self, artifact: Artifact, used: bool = False) -> None:
        """Give the artifact to each sink."""
        for sink in self.sinks:
            sink.artifact(artifact, used)

    def close(self) -> None:
        """Close every sink, also where one of them fails; then raise the first failure."""
        failures = []
        for sink in self.sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001  raised below, after the others are closed
                failures.append(error)
        if failures:
            raise failures[0]


def truncate_after(run_dir: Path, step: int, updates: int | None = None, *, judged: bool = False) -> None:
    """Cut the lines of steps after `step`, and a torn last line, so that a resumed run logs no step twice.

    Args:
        run_dir: the run's folder; files that are missing stay so.
        step: environment steps of the checkpoint from which the run goes on.
        updates: updates that it had made: lines of `step` itself that tell of more are cut too (before the
            first step there is no other measure of how far a run is).
        judged: whether the checkpoint knows of an evaluation at its own step; else the line of one there is
            cut, because it is made anew.

    Raises:
        UserError: the disk refuses; the files are then as they were.
    """
    for path in (run_dir / METRICS, run_dir / EPISODES):
        with disk_errors("the metrics", run_dir, _KEPT):
            if not path.exists():
                continue
            with written_aside(path) as aside, path.open("rb") as old, aside.open("wb") as new:
                new.writelines(line for line in old if _belongs(line, step, updates, judged))
                new.flush()


def _belongs(line: bytes, step: int, updates: int | None, judged: bool) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        told = json.loads(line)
        if told["env_step"] == step and not judged and any(name.startswith(JUDGED) for name in told):
            return False
        if told["env_step"] == step and updates is not None:
            return told.get("updates", 0) <= updates
        return told["env_step"] <= step
    except (ValueError, KeyError, TypeError):
        return False


def _open(path: Path) -> FileIO:
    file = FileIO(path, "ab")
    if path.stat().st_size == 0:
        sync(path.parent)  # the name itself outlives a power cut
    return file


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
