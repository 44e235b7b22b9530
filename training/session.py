"""One sitting of a run: build, resume or start, train, judge."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from agents import Agent, make_agent
from agents.programs.program import Mode, Wish, choose_mode
from expedition import UserError, __version__
from training.budget import earlier_moments, most_rows, planned_updates
from training.collecting.collector import Collector, goals_of, row_spec
from training.config import RunConfig
from training.judging.beyond import check_beyond, judge_beyond
from training.judging.evaluation import by_scope, evaluate_policy, judgement, summarise_episodes
from training.judging.foresight import Foresight, for_result, told
from training.judging.midway import Midway
from training.logging.artifacts import Artifact, checkpoint_artifact, record_choice
from training.logging.progress import Status
from training.logging.sinks import truncate_after
from training.logging.wandb_sink import open_sinks
from training.process.logistics import Logistics, env_factory
from training.process.runtime import Stopped, StopSignal, choose_device
from training.spaces import observed_kinds
from training.storage.checkpoint import Checkpoint, open_checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.folder import (
    read_json,
)
from training.storage.replay import Replay, RowSpec
from training.storage.state_tree import publish_json
from training.trainer import Trainer

EVALUATION_SEED = 1_000_003
"""Added to a run's seed, so that it is judged on episodes that it cannot have trained on."""


class Initialiser(Protocol):
    """What is done to a fresh agent before its first update.

    Phase 2 transfers components so, and phase 1 takes in data that others collected.
    """

    def prepare(self, agent: Agent) -> None:
        """Change the agent's structure (freeze, attach a prior); done on resume too."""
        ...

    def load(self, agent: Agent, replay: Replay, check: Callable[[], None]) -> Mapping[str, Any]:
        """Load weights and rows; returns the manifest that is written to transfer.json.

        What takes long calls `check` now and then, which leaves it where a stop came.
        """
        ...

    @property
    def carried_rows(self) -> int:
        """Rows of each environment that `load` may put into the replay."""
        ...

    @property
    def artifact(self) -> Artifact | None:
        """The checkpoint from which `load` takes, as W&B knows it; None if it takes nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: `result` is None if it was stopped before its end."""

    result: dict[str, Any] | None
    exit_code: int


class Session:
    """One sitting of a run: everything it builds, and the order in which it happens."""

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        logistics: Logistics,
        initialiser: Initialiser | None,
        stop: StopSignal,
        say: Callable[[str], None],
        program: Mode = "eager",
    ) -> None:
        self.config, self.run_dir, self.logistics = config, run_dir, logistics
        self.initialiser, self.stop, self.say = initialiser, stop, say
        training = config.training
        self.begun = False
        self.checkpointer = Checkpointer(run_dir)
        self.checkpoint = self._newest()
        # What was logged after the checkpoint will be logged again; the sinks must not have the files open.
        if self.checkpoint is None:
            truncate_after(run_dir, -1)
        else:
            step, loop = self.checkpoint.step, self.checkpoint.load("loop")
            truncate_after(run_dir, step, loop["updates"], judged=loop["midway"]["step"] == step)
        check_beyond(config, logistics)
        self.make_envs = env_factory(config, logistics)
        self.foresight = Foresight(config, run_dir, self.make_envs, stop.check)
        goals = goals_of(config)
        self.envs = env_factory(config, logistics, goals is not None)(training.num_envs)
        self.agent = build_agent(config, self.envs, choose_device(logistics.device))
        if initialiser is not None:
            initialiser.prepare(self.agent)
        self.agent.run_as(program)
        task_reward = config.phase == "finetune"
        carried = initialiser.carried_rows if initialiser is not None else 0
        folder = run_dir if logistics.replay_store == "disk" else None
        self.replay = build_replay(config, row_spec(self.envs, self.agent, task_reward), carried, folder)
        collector = Collector(self.envs, self.agent, self.replay, task_reward, config.seed, goals)
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
            Midway(config, self._policy, self.sink),
        )

    def begin(self) -> None:
        """Start, or resume from the newest checkpoint; a stop amid a start is as if it had not begun."""
        self.say(self.replay.describe())
        if self.initialiser is not None and self.initialiser.artifact is not None:
            self.sink.artifact(self.initialiser.artifact, used=True)
        try:
            if self.checkpoint is None:
                self._start()
            else:
                self._continue(self.checkpoint)
            self.begun = True
        except Stopped:
            pass
        except BaseException:
            self.close()
            raise

    def learn_offline(self) -> bool:
        """Learn from rows that were there before the first step; False if a stop came first.

        What phase 2 learned so is judged; phase 1 makes no steps after it, and is judged at its end anyway.
        """
        if "offline" not in earlier_moments(self.config):
            return self.begun and self.trainer.learn_offline(lambda: None, True)
        return self.begun and self.trainer.learn_offline(self._judge_offline, self._offline.exists())

    def end(self, learned: bool) -> Outcome:
        """Judge what was learned; or, where a stop came first, say where it stands."""
        result = None
        if learned:
            with contextlib.suppress(Stopped):  # the checkpoint of the last step is written
                result = self._judge()
        self._tell("stopped" if result is None else "finished")
        if result is not None:
            return Outcome(result, 0)
        saved = f"Saved at step {self.trainer.env_step:,}" if self.begun else "Stopped before the first step"
        self.say(f"{saved}; run the same command again to go on.")
        return Outcome(None, self.stop.exit_code)

    @contextlib.contextmanager
    def sitting(self) -> Iterator[None]:
        """Let go of everything in the end; if it ends badly, status.json tells."""
        try:
            yield
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

    def _start(self) -> None:
        """Load what is carried, judge policy and model as they come, and begin the first episodes."""
        if self.initialiser is not None:
            manifest = self.initialiser.load(self.agent, self.replay, self.stop.check)
            publish_json(self.run_dir / "transfer.json", dict(manifest))
        training = self.config.training
        if training.offline_updates and not self.replay.can_sample(training.length):
            raise UserError(
                f"offline_updates is {training.offline_updates:,}, but the replay holds no {training.length} "
                "rows of each environment before the first step: carry one (phase 1: name --data), or leave "
                "offline_updates out."
            )
        if planned_updates(self.config) == 0:
            self.say(
                f"Nothing will be learned: {self.config.steps:,} steps end before the first update, which "
                f"needs {training.learning_starts:,} steps (--training.learning-starts) and "
                f"{training.length} rows of each of {training.num_envs} environments."
            )
        self.trainer.collector.start()
        if "start" in earlier_moments(self.config):
            self._evaluate("start")
        found, films = self.foresight.judge(self.agent, "start")
        publish_json(self.run_dir / "open_loop_start.json", found)
        if found:
            self.sink.write(0, told(found), films)

    def _newest(self) -> Checkpoint | None:
        """The newest whole checkpoint; where that was asked for, one whose replay is damaged."""
        try:
            return self.checkpointer.latest()
        except UserError as error:
            if self.logistics.drop_damaged:
                return self.checkpointer.latest(shared=False)
            try:
                self.checkpointer.latest(shared=False)
            except UserError:
                raise error from None
            told = str(error).rstrip(".")
            raise UserError(f"{told}; or go on without the damaged rows by --drop-damaged.") from error

    def _continue(self, checkpoint: Checkpoint) -> None:
        dropped = self.trainer.resume(checkpoint, self.logistics.drop_damaged)
        self.say(f"Going on from step {checkpoint.step:,} ({checkpoint.path.name}).")
        if dropped:
            self.say(f"{dropped:,} replayed rows are gone: damaged ones and those before them.")

    def _policy(self) -> dict[str, float]:
        """Measures of the policy as it is now, on the episodes that judge this run at every moment."""
        seed = self.config.seed + EVALUATION_SEED
        episodes = self.config.training.evaluation_episodes
        return summarise_episodes(
            self.config.env, evaluate_policy(self.agent, self.make_envs, episodes, seed, self.stop.check)
        )

    def _evaluate(self, moment: str) -> None:
        """Evaluate the policy before the first step, and keep it for the result."""
        summary = self._policy()
        publish_json(self.run_dir / f"evaluation_{moment}.json", summary)
        told = {f"evaluation_{moment}/{name}": value for name, value in summary.items()}
        self.sink.write(0, {**told, "updates": self.trainer.updates})

    @property
    def _offline(self) -> Path:
        return self.run_dir / "evaluation_offline.json"

    def _judge_offline(self) -> None:
        self._offline.unlink(missing_ok=True)  # it tells whether the judgement is made
        self._evaluate("offline")

    def _read(self, name: str) -> dict[str, Any]:
        return read_json(self.run_dir / f"{name}.json", "delete the run's folder and start anew")

    def _judge(self) -> dict[str, Any]:
        """Evaluate policy and model, and write result.json."""
        began = time.monotonic()
        config, step = self.config, self.trainer.env_step
        start = self._read("open_loop_start")
        earlier = {m: self._read(f"evaluation_{m}") for m in earlier_moments(config)}
        summary = self._policy()
        end, films = self.foresight.judge(self.agent, "end")
        seed = config.seed + EVALUATION_SEED
        beyond = judge_beyond(self.agent, config, self.logistics, seed, self.stop.check)
        metrics, success = by_scope(
            {"": summary, **{f"_{m}": found for m, found in earlier.items()}, **beyond}
        )
        horizons: dict[str, list[float]] = {}
        for moment, found in (("start", start), ("end", end)):
            foreseen, lines = for_result(found, moment)
            metrics, horizons = metrics | foreseen, horizons | lines
        metrics |= self.trainer.coverage.metrics() | self.trainer.language()
        result = {
            "metrics": metrics,
            **horizons,
            **success,
            "coverage": self.trainer.coverage.result(),
            "episodes": config.training.evaluation_episodes,
            "environment_steps": step,
            "updates": self.trainer.updates,
            "wall_seconds": self.trainer.seconds + time.monotonic() - began,
            "evaluation_seconds": self.trainer.midway.seconds,
            "parameters": sum(p.numel() for p in self.agent.parameters() if p.requires_grad),
            "observed": observed_kinds(self.envs.observation_space),
            "version": __version__,
        }
        self.sink.write(step, judgement(summary, config) | told(end), films)
        self.sink.summary({**metrics, "environment_steps": step})
        if config.phase == "pretrain" and self.logistics.wandb != "off":
            record_choice(self.run_dir, self.logistics.artifact)
            self.sink.artifact(checkpoint_artifact(self.run_dir, config, open_checkpoint(self.run_dir)))
        publish_json(self.run_dir / "result.json", result)
        return result


def choose_program(
    config: RunConfig, run_dir: Path, logistics: Logistics, say: Callable[[str], None]
) -> tuple[Mode, Mode]:
    """How a run's updates are carried out: as its folder records it, and as this sitting can.

    They differ where a run goes on on a machine that cannot compile; it then equals the one that never
    stopped up to rounding only.
    """
    path = run_dir / "config.json"
    settings = read_json(path, "restore it, or choose another --out") if path.exists() else {}
    recorded = settings.get("program")
    wish: Wish = logistics.compile if recorded is None else "off" if recorded == "eager" else "on"
    mode, why = choose_mode(wish, choose_device(logistics.device), planned_updates(config))
    if why is not None:
        say(why)
    return recorded or mode, mode


def build_replay(config: RunConfig, spec: RowSpec, carried: int = 0, folder: Path | None = None) -> Replay:
    """Make the empty replay of a run, with room for so many carried rows beside its own, or less by its cap.

    Raises:
        UserError: the cap leaves no room for a sequence.
    """
    training = config.training
    return Replay(
        training.num_envs,
        spec,
        int(training.replay_gib * 2**30),
        max_rows=most_rows(config.steps, training.num_envs) + carried,
        sequence_length=training.length,
        folder=folder,
    )


def build_agent(config: RunConfig, envs: Any, device: torch.device) -> Agent:
    """Make the agent of a run, with fresh weights from its seed."""
    intrinsic = config.intrinsic if config.phase == "pretrain" else None
    return make_agent(envs.observation_space, envs.action_space, config.agent, intrinsic, config.seed, device)
