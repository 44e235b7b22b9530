"""One run from its config to its result: build, resume or start, train, judge."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from agents import DreamerAgent
from envs import make_vector
from expedition import UserError, __version__
from training.checkpoint import Checkpoint, Checkpointer, open_checkpoint
from training.collector import Collector, row_spec
from training.config import RunConfig, differences, from_dict, to_dict
from training.evaluation import OpenLoop, evaluate_policy, heldout_sequences, open_loop, summarise_episodes
from training.media import film_strip, write_gif, write_png
from training.replay import Replay
from training.runtime import StopSignal, choose_device
from training.sinks import JsonlSink, MultiSink, Sink, truncate_after
from training.state_tree import disk_errors, publish_json
from training.trainer import Trainer
from training.wandb_sink import WandbSink

EVALUATION_SEED, HELDOUT_SEED = 1_000_003, 2_000_003
"""Added to a run's seed, so that it is judged on episodes that it cannot have trained on."""


@dataclasses.dataclass(frozen=True)
class Logistics:
    """How a run is carried out; none of it changes the result (the device and threads: up to rounding)."""

    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of torch; 0 leaves the choice to torch."""
    wandb: str = "auto"
    """Weights & Biases: auto (online where logged in, else offline), off, offline or online."""
    project: str = "expedition"
    """W&B project."""
    group: str | None = None
    """W&B group: the study."""
    tags: tuple[str, ...] = ()
    """W&B tags."""
    progress: bool = True
    """Show a progress bar."""


class Initialiser(Protocol):
    """What is done to a fresh agent before its first update; phase 2 transfers components so."""

    def prepare(self, agent: DreamerAgent) -> None:
        """Change the agent's structure (freeze, attach a prior); done on resume too."""
        ...

    def load(self, agent: DreamerAgent, replay: Replay) -> Mapping[str, Any]:
        """Load weights and rows; returns the manifest that is written to transfer.json."""
        ...

    @property
    def carried_rows(self) -> int:
        """Rows of each environment that `load` may put into the replay."""
        ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: `result` is None if it was stopped before its end."""

    result: dict[str, Any] | None
    exit_code: int


def execute(
    config: RunConfig,
    run_dir: Path,
    logistics: Logistics,
    record: Mapping[str, Any] | None = None,
    initialiser: Initialiser | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Carry a run out in `run_dir`, or go on with it there.

    Args:
        config: the run.
        run_dir: its folder; a run that it holds already must have the same settings.
        logistics: device, threads, logging.
        record: settings to write beside the config (the transfer's); part of what must be the same.
        initialiser: what phase 2 does to the fresh agent.
        say: told one line at a time what a person wants to know.

    Raises:
        UserError: the folder holds another run, the disk refuses, the budget cannot work.
    """
    claim_folder(run_dir, {**to_dict(config), **(record or {})})
    finished = read_result(run_dir)
    if finished is not None:
        say(f"{run_dir} is finished already: nothing to do.")
        return Outcome(finished, 0)
    with only_process(run_dir), StopSignal() as stop:
        return _Session(config, run_dir, logistics, initialiser, stop, say).run()


def claim_folder(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings into a new folder, or check that the folder's run has the same.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    settings = json.loads(json.dumps(settings))
    path = run_dir / "config.json"
    with disk_errors("the run's settings", run_dir, "nothing was changed"):
        if path.exists():
            other = differences(json.loads(path.read_text()), settings)
            if other:
                shown = "; ".join(other[:4]) + ("; ..." if len(other) > 4 else "")
                raise UserError(f"{run_dir} holds a run with other settings: {shown}. Choose another --out.")
            return
        if run_dir.is_dir() and any(run_dir.iterdir()):
            raise UserError(f"{run_dir} is not empty and holds no run: choose another --out.")
        run_dir.mkdir(parents=True, exist_ok=True)
        publish_json(path, settings)


@contextlib.contextmanager
def only_process(run_dir: Path) -> Iterator[None]:
    """Hold the run's folder against other processes; the lock goes with the process, whatever its end.

    Raises:
        UserError: another process is working on the run.
    """
    with disk_errors("the run's lock", run_dir, "nothing was changed"):
        file = (run_dir / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process is working on {run_dir}: wait for it, or choose another --out."
            ) from error
        yield


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Result of a finished run; None where there is none yet."""
    path = run_dir / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


class _Session:
    """One sitting of a run: everything it builds, and the order in which it happens."""

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        logistics: Logistics,
        initialiser: Initialiser | None,
        stop: StopSignal,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.run_dir, self.logistics = config, run_dir, logistics
        self.initialiser, self.stop, self.say = initialiser, stop, say
        training = config.training
        self.checkpointer = Checkpointer(run_dir)
        self.checkpoint = self.checkpointer.latest()
        # Before the sinks open their files: what was logged after the checkpoint will be logged again.
        truncate_after(run_dir, -1 if self.checkpoint is None else self.checkpoint.step)
        self.envs = make_vector(config.env, training.num_envs, training.image_size)
        self.agent = build_agent(config, self.envs, choose_device(logistics.device))
        if initialiser is not None:
            initialiser.prepare(self.agent)
        task_reward = config.phase == "finetune"
        self.replay = Replay(
            training.num_envs,
            row_spec(self.envs, self.agent, task_reward),
            int(training.replay_gib * 2**30),
            max_rows=most_rows(config.steps, training.num_envs)
            + (initialiser.carried_rows if initialiser is not None else 0),
            sequence_length=training.length,
        )
        collector = Collector(self.envs, self.agent, self.replay, task_reward, config.seed)
        # Before the sinks open: it renames the files that they append to.
        truncate_after(run_dir, self.checkpoint.step if self.checkpoint is not None else -1)
        self.sink = self._open_sinks()
        self.status = _Status(run_dir, config, logistics.progress)
        self.trainer = Trainer(
            config,
            run_dir,
            self.agent,
            collector,
            self.replay,
            self.sink,
            self.checkpointer,
            lambda: bool(stop),
            self.status.report,
        )
        self.heldout = heldout_sequences(
            config.env,
            training.heldout,
            training.context + training.open_loop,
            config.seed + HELDOUT_SEED,
            training.image_size,
        )

    def run(self) -> Outcome:
        """Start or resume, train, judge."""
        self.say(self.replay.describe())
        try:
            if self.checkpoint is None:
                self._begin()
            else:
                self._continue(self.checkpoint)
            if not self.trainer.learn():
                self.status.write(
                    "stopped", self.trainer.env_step, self.trainer.updates, self.trainer.seconds
                )
                self.say(f"Saved at step {self.trainer.env_step:,}; run the same command again to go on.")
                return Outcome(None, self.stop.exit_code)
            result = self._judge()
            self.status.write("finished", self.trainer.env_step, self.trainer.updates, self.trainer.seconds)
            return Outcome(result, 0)
        except BaseException:
            self.status.write("failed", self.trainer.env_step, self.trainer.updates, self.trainer.seconds)
            raise
        finally:
            self.status.close()
            self.sink.close()
            self.envs.close()

    def _begin(self) -> None:
        """Load what is carried, judge the model as it comes, and begin the first episodes."""
        if self.initialiser is not None:
            manifest = self.initialiser.load(self.agent, self.replay)
            publish_json(self.run_dir / "transfer.json", dict(manifest))
        self.trainer.collector.start()
        start = self._open_loop("start", 0)
        publish_json(
            self.run_dir / "open_loop_start.json", {"error": start.error, "by_horizon": start.by_horizon}
        )

    def _continue(self, checkpoint: Checkpoint) -> None:
        self.trainer.resume(checkpoint)
        self.say(f"Going on from step {checkpoint.step:,} ({checkpoint.path.name}).")

    def _open_loop(self, moment: str, step: int) -> OpenLoop:
        """Measure and draw open-loop prediction on the held-out sequences."""
        training = self.config.training
        seen = open_loop(self.agent.world_model, self.heldout, training.context, self.config.seed)
        media = {}
        if seen.frames is not None:
            folder = self.run_dir / "media"
            gif, png = folder / f"open_loop_{moment}.gif", folder / f"open_loop_{moment}.png"
            height = seen.frames.shape[1] // 3
            write_gif(gif, seen.frames, fps=8)
            first = seen.frames[:, :, :height]  # the first sequence alone, one column a time step
            write_png(png, film_strip(first[training.context :], every=max(1, training.open_loop // 12)))
            media = {f"open_loop/{moment}": gif}
        self.sink.write(step, {"open_loop/error": seen.error}, media)
        return seen

    def _judge(self) -> dict[str, Any]:
        """Evaluate policy and model, and write result.json."""
        began = time.monotonic()
        config, training, step = self.config, self.config.training, self.trainer.env_step
        end = self._open_loop("end", step)
        start = json.loads((self.run_dir / "open_loop_start.json").read_text())
        episodes = evaluate_policy(
            self.agent,
            config.env,
            training.evaluation_episodes,
            config.seed + EVALUATION_SEED,
            training.image_size,
        )
        summary = summarise_episodes(config.env, episodes)
        success = {k.removeprefix("success/"): v for k, v in summary.items() if k.startswith("success/")}
        metrics = {k: v for k, v in summary.items() if not k.startswith("success/")}
        metrics |= {"open_loop_error_start": start["error"], "open_loop_error_end": end.error}
        result = {
            "metrics": metrics,
            "open_loop_by_horizon_start": start["by_horizon"],
            "open_loop_by_horizon_end": end.by_horizon,
            "success": success,
            "episodes": len(episodes),
            "environment_steps": step,
            "updates": self.trainer.updates,
            "wall_seconds": self.trainer.seconds + time.monotonic() - began,
            "parameters": sum(p.numel() for p in self.agent.parameters() if p.requires_grad),
            "version": __version__,
        }
        self.sink.write(step, {f"evaluation/{name}": value for name, value in summary.items()})
        self.sink.summary({**metrics, "environment_steps": step})
        publish_json(self.run_dir / "result.json", result)
        return result

    def _open_sinks(self) -> Sink:
        config, logistics = self.config, self.logistics
        sinks: list[Sink] = [JsonlSink(self.run_dir)]
        if logistics.wandb != "off":
            settings = json.loads((self.run_dir / "config.json").read_text())
            tags = [config.phase, config.intrinsic or "task reward", *logistics.tags]
            sinks.append(
                WandbSink(
                    self.run_dir,
                    project=logistics.project,
                    group=logistics.group,
                    name=self.run_dir.name,
                    run_id=f"{logistics.group or 'run'}-{self.run_dir.name}"[:100].replace("+", "-"),
                    tags=tags,
                    config=settings,
                    mode=logistics.wandb,
                )
            )
        return MultiSink(sinks)


def most_rows(steps: int, num_envs: int) -> int:
    """Most rows of one environment that `steps` steps can fill: each may be followed by a first row."""
    return 2 * (steps // num_envs + 1) + 2


class _Status:
    """Progress bar, and status.json for whoever watches the run from outside."""

    EVERY = 2.0

    def __init__(self, run_dir: Path, config: RunConfig, progress: bool) -> None:
        self.path = run_dir / "status.json"
        self.steps = config.steps
        self._written = 0.0
        self._bar = tqdm(
            total=config.steps, unit="step", desc=config.phase, disable=not progress, dynamic_ncols=True
        )

    def report(self, env_step: int, updates: int, seconds: float) -> None:
        """Move the bar; rewrite status.json every two seconds."""
        self._bar.update(min(env_step, self.steps) - self._bar.n)
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


def build_agent(config: RunConfig, envs: Any, device: torch.device) -> DreamerAgent:
    """Make the agent of a run, with fresh weights from its seed."""
    intrinsic = config.intrinsic if config.phase == "pretrain" else None
    return DreamerAgent(
        envs.observation_space, envs.action_space, config.agent, intrinsic, config.seed, device
    )


def read_config(run_dir: Path) -> RunConfig:
    """Settings of a run from its folder.

    Raises:
        UserError: the folder holds no run of ours.
    """
    path = run_dir / "config.json"
    if not path.is_file():
        raise UserError(f"{run_dir} holds no config.json: give the folder of an Expedition run.")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON ({error}): restore it, or start a new run.") from error
    known = {field.name for field in dataclasses.fields(RunConfig)}
    return from_dict(RunConfig, {key: value for key, value in values.items() if key in known})


def evaluate_run(run_dir: Path, episodes: int, seed: int, device: str) -> dict[str, float]:
    """Evaluate the policy in a run's newest checkpoint; returns the summary of `episodes` episodes.

    Raises:
        UserError: no run or no whole checkpoint there.
    """
    config = read_config(run_dir)
    checkpoint = open_checkpoint(run_dir)
    envs = make_vector(config.env, 1, config.training.image_size)
    try:
        agent = build_agent(config, envs, choose_device(device))
    finally:
        envs.close()
    for name, module in agent.components().items():
        module.load_state_dict(checkpoint.load(name))
    found = evaluate_policy(agent, config.env, episodes, seed, config.training.image_size)
    summary = summarise_episodes(config.env, found)
    return summary | {"episodes": float(np.float64(len(found)))}
