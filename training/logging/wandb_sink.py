"""A sink that is a real Weights & Biases run; it never asks, never prints, and keeps to the run's folder."""

from __future__ import annotations

import atexit
import configparser
import json
import logging
import math
import netrc
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from expedition.errors import UserError, unknown_name
from training.config import RunConfig
from training.logging.sinks import JsonlSink, MultiSink, Sink, logged_lines
from training.logistics import Logistics
from training.storage.folder import read_json, read_settings
from training.storage.state_tree import disk_errors, plain, publish_json, written_aside

WandbMode = Literal["off", "offline", "online"]
LAST_STEP = "wandb_last_step.json"

_ENVIRONMENT = {
    "online": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
    "off": "off",
}
_KEPT = "checkpoints that were there before are intact"
_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # one service: 'wandb login' writes either name
_START_SECONDS = 30.0
_folders: dict[str, str] = {}  # the variables that a sink of this process has set
_log = logging.getLogger(__name__)


class WandbSink:
    """Logs one run to Weights & Biases, with `env_step` as the axis of every chart.

    A run that goes on after a kill keeps its id. Its lines are numbered as in its JSONL files, which are cut
    to its checkpoint before it goes on; lines that W&B already has are not logged again. If W&B fails while
    the run is under way, a warning says so once and the run goes on without it.

    Args:
        run_dir: the run's folder; W&B's files go to `wandb/` in it.
        project: W&B's project.
        group: the study, by which W&B groups runs.
        name: what the run is called in charts.
        run_id: the same in every part of a run that is stopped and resumed.
        tags: phase, plan, intrinsic reward.
        config: the run's resolved configuration.
        mode: `off`, `offline`, `online` or `auto`; see `resolve_wandb_mode`. Where `auto` means online and
            the server cannot be reached in half a minute, a warning says so and the run is logged offline.

    Raises:
        UserError: the mode is unknown, `online` without an API key, or W&B does not start.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        project: str,
        group: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
        tags: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        mode: str = "auto",
    ) -> None:
        self.run_dir = run_dir
        self.mode: WandbMode = resolve_wandb_mode(mode)
        self._last = _read_last(run_dir / LAST_STEP)
        self._known = self._last["line"]  # the last part of this run logged up to here
        self._line = logged_lines(run_dir)
        self._run: Any = None
        if self.mode == "online" and not has_credentials():
            raise UserError(
                "W&B has no API key: run 'wandb login' once, or use --wandb offline or --wandb off."
            )
        if self.mode == "off":
            return
        what = {"project": project, "group": group, "name": name, "id": run_id, "tags": list(tags)}
        what["config"] = plain(config or {})
        try:
            self._run = self._start(mode=self.mode, **what)
        except UserError as error:
            if mode != "auto" or self.mode != "online":
                raise
            _log.warning("%s This run is logged offline; 'wandb sync' sends it later.", error)
            self.mode = "offline"
            self._run = self._start(mode=self.mode, **what)

    def write(self, step: int, metrics: Mapping[str, float], media: Mapping[str, Path] | None = None) -> None:
        """Log metrics, and media by their paths, at an environment step."""
        files = {name: path for name, path in (media or {}).items() if path.exists()}
        self._log(step, lambda: {**metrics, **{name: _medium(path) for name, path in files.items()}})

    def episode(self, step: int, summary: Mapping[str, Any]) -> None:
        """Log an episode's numbers under `episode/`."""
        values = {f"episode/{name}": value for name, value in plain(summary).items() if _is_number(value)}
        self._log(step, lambda: values)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set values of the run's summary."""
        self._guarded(lambda: self._run.summary.update(plain(values)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table; rows are lists of numbers, texts or None, one item for each column."""
        if self._run is None:
            return
        import wandb

        table = {name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])}
        self._send(max(0, self._last["env_step"]), lambda: table)

    def bars(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str) -> None:
        """Log a bar chart: the first column names the bars, the second gives their lengths."""
        if self._run is None:
            return
        import wandb

        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        chart = wandb.plot.bar(table, columns[0], columns[1], title=title)
        self._send(max(0, self._last["env_step"]), lambda: {name: chart})

    def lines(
        self, name: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], title: str, x_name: str
    ) -> None:
        """Log a line chart of several lines over the same x."""
        if self._run is None:
            return
        import wandb

        ys = [list(line) for line in lines.values()]
        chart = wandb.plot.line_series(list(x), ys, keys=list(lines), title=title, xname=x_name)
        self._send(max(0, self._last["env_step"]), lambda: {name: chart})

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
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            _keep_to(self.run_dir / "wandb" / "cache")
            wandb.setup(settings=wandb.Settings(silent=True))  # it would name where it found the API key
            run = wandb.init(
                dir=str(self.run_dir),
                resume="allow",
                reinit="create_new",
                save_code=False,
                settings=settings,
                **what,
            )
            run.define_metric("env_step")
            run.define_metric("*", step_metric="env_step")
        except Exception as error:  # W&B's errors have no base in common
            wandb.teardown()  # its service would hold the run's id as being in use
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"W&B did not start ({reason}): use --wandb offline, or --wandb off.") from error
        return run

    def _log(self, step: int, values: Callable[[], Mapping[str, Any]]) -> None:
        self._line += 1
        if self._line > self._known:
            self._send(step, values)

    def _send(self, step: int, values: Callable[[], Mapping[str, Any]]) -> None:
        if self._run is None:
            return
        # W&B drops a row whose number it has passed, so rows are counted on across the parts of a run.
        row = self._guarded(lambda: max(self._last["row"] + 1, self._run.step))
        self._guarded(lambda: self._run.log({"env_step": step, **values()}, step=row, commit=True))
        if self._run is None:
            return
        self._last = {"env_step": step, "row": row, "line": self._line}
        path = self.run_dir / LAST_STEP
        with disk_errors("W&B's last step", self.run_dir, _KEPT), written_aside(path, durable=False) as aside:
            aside.write_text(json.dumps(self._last), encoding="utf-8")

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Run what calls W&B, and return what it gives; its failure must not cost the run."""
        if self._run is None:
            return None
        try:
            return action()
        except Exception as error:  # noqa: BLE001  W&B's errors have no base in common
            _log.warning("W&B failed and is left out from here on: %s", str(error) or type(error).__name__)
            self._run = None
            atexit.register(_leave)  # before W&B's own, which would end in a traceback
            return None


def _leave() -> None:
    """Let go of W&B when the process ends, whatever state it is in."""
    import wandb

    try:
        wandb.teardown()
    except Exception as error:  # noqa: BLE001  W&B's errors have no base in common
        _log.debug("W&B could not be closed: %s", error)


def resolve_wandb_mode(mode: str) -> WandbMode:
    """Say what a `--wandb` choice means on this machine, without asking or calling anyone.

    `auto` follows the variable WANDB_MODE where it is set; else it is `online` where an API key is configured
    and `offline` where none is. The other choices stand as they are.

    Raises:
        UserError: an unknown mode, here or in WANDB_MODE.
    """
    if mode != "auto":
        if mode not in ("off", "offline", "online"):
            raise unknown_name("W&B mode", mode, ("auto", "off", "offline", "online"))
        return cast(WandbMode, mode)
    asked = os.environ.get("WANDB_MODE")
    if asked:
        if asked not in _ENVIRONMENT:
            raise unknown_name("WANDB_MODE", asked, _ENVIRONMENT)
        return cast(WandbMode, _ENVIRONMENT[asked])
    return "online" if has_credentials() else "offline"


def has_credentials() -> bool:
    """Say whether W&B could log in from the environment, its settings file or a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = _wandb_settings()
    if settings.get("api_key"):
        return True
    url = os.environ.get("WANDB_BASE_URL") or settings.get("base_url")
    host = urlsplit(url).netloc if url else _HOSTS[0]
    return any(_in_netrc(name) for name in (_HOSTS if host in _HOSTS else (host,)))


def _keep_to(folder: Path) -> None:
    """Have W&B stage and log there what it would put into the home folder, which may not be writable."""
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        if os.environ.get(name) == _folders.get(name):  # unset, or set by a run before this one
            os.environ[name] = _folders[name] = str(folder.absolute())


def _wandb_settings() -> dict[str, str]:
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder.expanduser() / "settings")
        return dict(parser["default"]) if parser.has_section("default") else {}
    except (configparser.Error, OSError, RuntimeError):  # RuntimeError: no home folder
        return {}


def _in_netrc(host: str) -> bool:
    try:
        given = os.environ.get("NETRC")
        paths = [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]
        found = [path.expanduser() for path in paths if path.expanduser().exists()]
        return bool(found) and netrc.netrc(found[0]).authenticators(host) is not None
    except (netrc.NetrcParseError, OSError, RuntimeError):
        return False


def _medium(path: Path) -> Any:
    import wandb

    video = path.suffix.lower() in (".gif", ".mp4", ".webm")
    return wandb.Video(str(path), format=cast(Any, path.suffix[1:])) if video else wandb.Image(str(path))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not (isinstance(value, float) and math.isnan(value))


def _read_last(path: Path) -> dict[str, int]:
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
        return {name: int(last[name]) for name in ("env_step", "row", "line")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"env_step": -1, "row": -1, "line": 0}


def open_sinks(config: RunConfig, run_dir: Path, logistics: Logistics) -> Sink:
    """Open what a run's metrics are written to."""
    sinks: list[Sink] = [JsonlSink(run_dir)]
    if logistics.wandb != "off":
        settings = read_settings(run_dir)
        tags = [config.phase, config.intrinsic or "task reward", *logistics.tags]
        tags = [tag[:64] for tag in dict.fromkeys(tags)]  # W&B takes no longer ones
        sinks.append(
            WandbSink(
                run_dir,
                project=logistics.project,
                group=logistics.group,
                name=run_dir.name,
                run_id=wandb_id(run_dir),
                tags=tags,
                config=settings,
                mode=logistics.wandb,
            )
        )
    return MultiSink(sinks)


def wandb_id(run_dir: Path) -> str:
    """Id of a run at W&B: drawn once and kept, for two runs of one name must not become one there."""
    path = run_dir / "wandb_id.json"
    if not path.exists():
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in run_dir.resolve().name)
        publish_json(path, {"id": f"{name[:80]}-{secrets.token_hex(4)}"})
    return str(read_json(path, "delete it and run the same command again")["id"])
