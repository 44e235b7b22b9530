"""A real Weights & Biases run; it never asks, never prints, and keeps to its folder."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from expedition.errors import UserError
from training.logging.artifacts import Artifact
from training.logging.wandb_file import read_records
from training.logging.wandb_login import WandbMode, has_credentials, resolve_wandb_mode
from training.storage.state_tree import plain

_START_SECONDS = 30.0
_folders: dict[str, str] = {}  # the variables that a run of this process has set
_log = logging.getLogger(__name__)


class WandbRun:
    """One run at Weights & Biases, with `env_step` as the axis of every chart.

    An id that was used before goes on after the rows that the server has of it. An earlier offline part that
    was not sent is taken away: a killed run's may end anywhere, and who logs tells all of it again. If W&B
    fails while the run is under way, a warning says so once and the run goes on without it.

    Args:
        folder: where W&B's files go, to `wandb/` in it.
        project: W&B's project.
        group: the study, by which W&B groups runs.
        name: what the run is called in charts.
        run_id: the same in every part of a run that is stopped and resumed; None draws one.
        job_type: `pretrain`, `finetune` or `report`.
        tags: plan, intrinsic reward and the like.
        config: the run's resolved configuration.
        mode: `off`, `offline`, `online` or `auto`; see `resolve_wandb_mode`. Where `auto` means online and
            the server cannot be reached in half a minute, a warning says so and the run is logged offline.

    Attributes:
        rows: how many rows the server has of this run already; who logs begins after them.

    Raises:
        UserError: the mode is unknown, `online` without an API key, or W&B does not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        project: str,
        group: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        mode: str = "auto",
    ) -> None:
        self.folder = folder
        self.mode: WandbMode = resolve_wandb_mode(mode)
        self.rows = self._row = 0
        self._run: Any = None
        if self.mode == "online" and not has_credentials():
            raise UserError(
                "W&B has no API key: run 'wandb login' once, or use --wandb offline or --wandb off."
            )
        if self.mode == "off":
            return
        what: dict[str, Any] = {
            "project": project,
            "group": group,
            "name": name,
            "id": run_id,
            "job_type": job_type,
        }
        what |= {"tags": list(tags), "config": plain(config or {})}
        try:
            self._run = self._start(mode=self.mode, **what)
        except UserError as error:
            if mode != "auto" or self.mode != "online":
                raise
            _log.warning("%s This run is logged offline; 'expedition sync' sends it later.", error)
            self.mode = "offline"
            self._run = self._start(mode=self.mode, **what)
        sent = 0 if run_id is None or self.mode == "online" else _rows_sent(folder, run_id)
        self.rows = self._row = max(sent, int(self._run.step))

    def log(self, step: int, values: Callable[[], Mapping[str, Any]]) -> None:
        """Log a row at an environment step; `values` is called where W&B is on."""
        # W&B drops a row whose number it has passed, so rows are counted on across the parts of a run.
        row, self._row = self._row, self._row + 1
        self._guarded(lambda: self._run.log({"env_step": step, **values()}, step=row, commit=True))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set values of the run's summary."""
        self._guarded(lambda: self._run.summary.update(plain(values)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table; rows are lists of numbers, texts or None, one item for each column."""
        self.log(0, lambda: {name: _table(columns, rows)})

    def bars(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> None:
        """Log a bar chart: the first column names the bars, the second gives their lengths."""

        def chart() -> Mapping[str, Any]:
            import wandb

            return {name: wandb.plot.bar(_table(columns, rows), columns[0], columns[1], title=title)}

        self.log(0, chart)

    def lines(
        self, name: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], title: str, x_name: str
    ) -> None:
        """Log a line chart of several lines over the same x."""

        def chart() -> Mapping[str, Any]:
            import wandb

            ys = [list(line) for line in lines.values()]
            return {name: wandb.plot.line_series(list(x), ys, keys=list(lines), title=title, xname=x_name)}

        self.log(0, chart)

    def artifact(self, artifact: Artifact, used: bool = False) -> None:
        """Log an artifact that this run made, or one that it uses; W&B knows equal ones by their content."""

        def log() -> None:
            made = _wandb_artifact(artifact)
            if used:
                # What `use_artifact` does with one that no server gave it, which it refuses offline; the run
                # does not become its maker.
                self._run._log_artifact(made, is_user_created=True, use_after_commit=True)
            else:
                self._run.log_artifact(made)

        self._guarded(log)

    def close(self) -> None:
        """Finish the run; online, this waits for the upload."""
        self._guarded(lambda: self._run.finish())
        self._run = None

    def _start(self, **what: Any) -> Any:
        import wandb

        # Versions of everything installed, git state and machine load are not ours to publish or to pay for.
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=_START_SECONDS,
        )
        unsent = [] if what["id"] is None else offline_parts(self.folder, what["id"])
        unsent = [path for path in unsent if not _is_sent(path)]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            keep_to(self.folder / "wandb" / "cache")
            wandb.setup(settings=wandb.Settings(silent=True))  # it would name where it found the API key
            run = wandb.init(
                dir=str(self.folder),
                resume="allow",
                reinit="create_new",
                save_code=False,
                settings=settings,
                **what,
            )
            for path in unsent:
                if path.parent != Path(run.settings.sync_dir):
                    shutil.rmtree(path.parent)
            run.define_metric("env_step")
            run.define_metric("*", step_metric="env_step")
        except Exception as error:  # W&B's errors have no base in common
            wandb.teardown()  # its service would hold the run's id as being in use
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"W&B did not start ({reason}): use --wandb offline, or --wandb off.") from error
        return run

    def _guarded(self, action: Callable[[], Any]) -> None:
        """Run what calls W&B; its failure must not cost the run."""
        if self._run is None:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001  W&B's errors have no base in common
            _log.warning("W&B failed and is left out from here on: %s", str(error) or type(error).__name__)
            self._run = None
            atexit.register(_leave)  # before W&B's own, which would end in a traceback


def keep_to(folder: Path) -> None:
    """Have W&B stage and log there what it would put into the home folder, which may not be writable."""
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        if os.environ.get(name) == _folders.get(name):  # unset, or set by a run before this one
            os.environ[name] = _folders[name] = str(folder.absolute())


def medium(path: Path) -> Any:
    """An image, or a video where the name ends so, for `WandbRun.log`."""
    import wandb

    video = path.suffix.lower() in (".gif", ".mp4", ".webm")
    return wandb.Video(str(path), format=cast(Any, path.suffix[1:])) if video else wandb.Image(str(path))


def offline_parts(folder: Path, run_id: str = "*") -> list[Path]:
    """Files of a run's offline parts that were not sent whole, the newest last."""
    found = folder.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
    return sorted(path for path in found if not _marked(path, "synced"))


def _marked(path: Path, mark: str) -> bool:
    """Whether W&B left a mark beside a file: `synced`, or `syncstate` where it began to send it."""
    return path.with_name(f"{path.name}.{mark}").exists()


def _is_sent(path: Path) -> bool:
    return _marked(path, "synced") or _marked(path, "syncstate")


def _rows_sent(folder: Path, run_id: str) -> int:
    """Rows of a run that went to the server from offline parts."""
    found = folder.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
    rows = [
        record.history.step.num + 1
        for path in found
        if _is_sent(path)
        for record, _ in read_records(path)
        if record.WhichOneof("record_type") == "history"
    ]
    return max(rows, default=0)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import wandb

    return wandb.Table(columns=list(columns), data=[list(row) for row in rows])


def _wandb_artifact(artifact: Artifact) -> Any:
    import wandb

    made = wandb.Artifact(artifact.name, artifact.kind, metadata=plain(artifact.metadata))
    for name, path in artifact.files.items():
        made.add_file(str(path), name, policy="immutable" if artifact.kept else "mutable")
    return made


def _leave() -> None:
    """Let go of W&B when the process ends, whatever state it is in."""
    import wandb

    try:
        wandb.teardown()
    except Exception as error:  # noqa: BLE001  W&B's errors have no base in common
        _log.debug("W&B could not be closed: %s", error)
