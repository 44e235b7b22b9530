"""One run from its config to its result: build, resume or start, train, judge."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from agents import Agent, make_agent
from envs import choose_workers, cores, make_vector
from expedition import UserError, __version__, unknown_name
from training.checkpoint import Checkpoint, Checkpointer, open_checkpoint
from training.collector import Collector, row_spec
from training.config import RunConfig, at_least, to_dict
from training.evaluation import (
    OpenLoop,
    Policy,
    evaluate_policy,
    heldout_sequences,
    open_loop,
    summarise_episodes,
)
from training.folder import (
    claim_folder,
    only_process,
    read_config,
    read_json,
    read_result,
    undone_on_failure,
)
from training.media import film_strip, write_gif, write_png
from training.progress import Status
from training.replay import Replay
from training.runtime import StopSignal, choose_device
from training.sinks import truncate_after
from training.state_tree import publish_json
from training.trainer import Trainer
from training.wandb_sink import open_sinks
from world_model import WorldModel

EVALUATION_SEED, HELDOUT_SEED = 1_000_003, 2_000_003
"""Added to a run's seed, so that it is judged on episodes that it cannot have trained on."""


@dataclasses.dataclass(frozen=True)
class Logistics:
    """How a run is carried out; none of it changes the result (the device and threads: up to rounding)."""

    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of torch; 0 leaves the choice to torch."""
    workers: int = -1
    """Processes that step the environments: 0 for none, -1 for one each of `threads` where a step is slow."""
    replay_store: str = "memory"
    """Where the replay lies: memory, or disk (in the run's folder, beside the chunks of its checkpoints)."""
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

    def __post_init__(self) -> None:
        at_least("threads", self.threads, 0)
        at_least("workers", self.workers, -1)
        if self.replay_store not in ("memory", "disk"):
            raise unknown_name("replay store", self.replay_store, ["memory", "disk"])


class Initialiser(Protocol):
    """What is done to a fresh agent before its first update; phase 2 transfers components so."""

    def prepare(self, agent: Agent) -> None:
        """Change the agent's structure (freeze, attach a prior); done on resume too."""
        ...

    def load(self, agent: Agent, replay: Replay) -> Mapping[str, Any]:
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
    if config.agent.kind == "ppo":
        from training.ppo import execute_ppo

        return execute_ppo(config, run_dir, logistics, record, say)
    new = claim_folder(run_dir, {**to_dict(config), **(record or {})})
    finished = read_result(run_dir)
    if finished is not None:
        say(f"{run_dir} is finished already: nothing to do.")
        return Outcome(finished, 0)
    with only_process(run_dir), StopSignal() as stop:
        with undone_on_failure(run_dir, new):
            session = _Session(config, run_dir, logistics, initialiser, stop, say)
            session.begin()
        return session.run()


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
        # What was logged after the checkpoint will be logged again; the sinks must not have the files open.
        truncate_after(run_dir, -1 if self.checkpoint is None else self.checkpoint.step)
        workers = logistics.workers
        if workers < 0:
            workers = choose_workers(config.env, logistics.threads or cores())
        self.make_envs = functools.partial(
            make_vector, config.env, image_size=training.image_size, workers=workers
        )
        self.envs = self.make_envs(training.num_envs)
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
            folder=run_dir if logistics.replay_store == "disk" else None,
        )
        collector = Collector(self.envs, self.agent, self.replay, task_reward, config.seed)
        self.heldout = self._heldout()
        self.sink = open_sinks(config, run_dir, logistics)
        self.status = Status(run_dir, config, logistics.progress)
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

    def begin(self) -> None:
        """Start, or resume from the newest checkpoint."""
        self.say(self.replay.describe())
        try:
            if self.checkpoint is None:
                self._start()
            else:
                self._continue(self.checkpoint)
        except BaseException:
            self.close()
            raise

    def run(self) -> Outcome:
        """Train and judge."""
        trainer = self.trainer
        try:
            if not trainer.learn():
                self._tell("stopped")
                self.say(f"Saved at step {trainer.env_step:,}; run the same command again to go on.")
                return Outcome(None, self.stop.exit_code)
            result = self._judge()
            self._tell("finished")
            return Outcome(result, 0)
        except BaseException:
            with contextlib.suppress(UserError):  # on a full disk the first error says more
                self._tell("failed")
            raise
        finally:
            self.close()

    def _tell(self, state: str) -> None:
        self.status.write(state, self.trainer.env_step, self.trainer.updates, self.trainer.seconds)

    def close(self) -> None:
        """Let go of everything."""
        self.trainer.close()
        self.status.close()
        self.sink.close()
        self.envs.close()

    def _heldout(self) -> dict[str, np.ndarray] | None:
        """Sequences that judge the model; None for an agent that predicts nothing."""
        config, training = self.config, self.config.training
        if not isinstance(self.agent.world_model, WorldModel):
            return None
        length = training.context + training.open_loop
        return heldout_sequences(self.make_envs, training.heldout, length, config.seed + HELDOUT_SEED)

    def _start(self) -> None:
        """Load what is carried, judge the model as it comes, and begin the first episodes."""
        if self.initialiser is not None:
            manifest = self.initialiser.load(self.agent, self.replay)
            publish_json(self.run_dir / "transfer.json", dict(manifest))
        if planned_updates(self.config) == 0:
            training = self.config.training
            self.say(
                f"Nothing will be learned: {self.config.steps:,} steps end before the first update, which "
                f"needs {training.learning_starts:,} steps (--training.learning-starts) and "
                f"{training.length} rows of each of {training.num_envs} environments."
            )
        self.trainer.collector.start()
        start = self._open_loop("start", 0)
        if start is not None:
            found = {"error": start.error, "by_horizon": start.by_horizon}
            publish_json(self.run_dir / "open_loop_start.json", found)

    def _continue(self, checkpoint: Checkpoint) -> None:
        self.trainer.resume(checkpoint)
        self.say(f"Going on from step {checkpoint.step:,} ({checkpoint.path.name}).")

    def _open_loop(self, moment: str, step: int) -> OpenLoop | None:
        """Measure and draw open-loop prediction on the held-out sequences, where the agent predicts."""
        training, model = self.config.training, self.agent.world_model
        if self.heldout is None or not isinstance(model, WorldModel):
            return None
        seen = open_loop(model, self.heldout, training.context, self.config.seed)
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
        episodes = evaluate_policy(
            self.agent, self.make_envs, training.evaluation_episodes, config.seed + EVALUATION_SEED
        )
        # Logged after the long part, so that a crash in it leaves no line to be logged twice.
        end = self._open_loop("end", step)
        summary = summarise_episodes(config.env, episodes)
        # Measures of one achievement or task each are kept apart from those of the whole.
        success = {k.partition("/")[2]: v for k, v in summary.items() if "/" in k}
        metrics = {k: v for k, v in summary.items() if "/" not in k}
        horizons = {}
        if end is not None:
            path = self.run_dir / "open_loop_start.json"
            start = read_json(path, "delete the run's folder and start anew")
            metrics |= {"open_loop_error_start": start["error"], "open_loop_error_end": end.error}
            horizons = {
                "open_loop_by_horizon_start": start["by_horizon"],
                "open_loop_by_horizon_end": end.by_horizon,
            }
        result = {
            "metrics": metrics,
            **horizons,
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


def planned_updates(config: RunConfig) -> int:
    """Updates that the budget pays for; 0 where it ends before the replay can be sampled."""
    training = config.training
    if config.agent.kind == "ppo":
        return config.steps // config.agent.ppo.rollout
    if config.steps // training.num_envs < training.length:
        return 0
    since = max(0, config.steps - training.learning_starts)
    return int(since * training.train_ratio / (training.batch * training.length))


def most_rows(steps: int, num_envs: int) -> int:
    """Most rows of one environment that `steps` steps can fill: each may be followed by a first row."""
    return 2 * (steps // num_envs + 1) + 2


def build_agent(config: RunConfig, envs: Any, device: torch.device) -> Agent:
    """Make the agent of a run, with fresh weights from its seed."""
    intrinsic = config.intrinsic if config.phase == "pretrain" else None
    return make_agent(envs.observation_space, envs.action_space, config.agent, intrinsic, config.seed, device)


def evaluate_run(run_dir: Path, episodes: int, seed: int, device: str) -> dict[str, float]:
    """Evaluate the policy in a run's newest checkpoint; returns the summary of `episodes` episodes.

    Raises:
        UserError: no run or no whole checkpoint there.
    """
    checkpoint = open_checkpoint(run_dir)
    config = read_config(run_dir)
    make_envs = functools.partial(make_vector, config.env, image_size=config.training.image_size)
    envs = make_envs(1)
    try:
        agent = _load_policy(config, envs, checkpoint, choose_device(device))
    finally:
        envs.close()
    found = evaluate_policy(agent, make_envs, episodes, seed)
    summary = summarise_episodes(config.env, found)
    return summary | {"episodes": float(len(found))}


def _load_policy(config: RunConfig, envs: Any, checkpoint: Checkpoint, device: torch.device) -> Policy:
    if config.agent.kind == "ppo":
        from training.ppo import load_policy

        return load_policy(config, envs, checkpoint, device)
    agent = build_agent(config, envs, device)
    for name, module in agent.components().items():
        module.load_state_dict(checkpoint.load(name))
    return agent
