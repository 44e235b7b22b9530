"""The baseline: Stable-Baselines3's PPO in a run's folder like any other, on the same episodes."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs import VectorEnv
from expedition import UserError, __version__
from training.config import RunConfig, to_dict
from training.judging.beyond import check_beyond, judge_beyond
from training.judging.evaluation import Policy, by_scope, evaluate_policy, judgement, summarise_episodes
from training.judging.midway import Midway
from training.logging.progress import Status
from training.logging.sinks import truncate_after
from training.logging.wandb_sink import open_sinks
from training.process.logistics import Logistics, env_factory
from training.process.runtime import Stopped, StopSignal, choose_device
from training.session import EVALUATION_SEED, Outcome
from training.spaces import SPACES, check_unchanged, describe_spaces, observed_kinds
from training.storage.checkpoint import Checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.folder import claim_folder, only_process, read_result, undone_on_failure
from training.storage.state_tree import publish_json

INSTALL = "pip install 'expedition[baselines]'"


def execute_ppo(
    config: RunConfig,
    run_dir: Path,
    logistics: Logistics,
    record: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Carry out a run of PPO in `run_dir`, or go on with it there; arguments as those of `execute`.

    Raises:
        UserError: Stable-Baselines3 is missing, the run is of phase 1, the folder holds another run.
    """
    if config.phase != "finetune":
        raise UserError("PPO learns from the task's reward alone: ask for it in phase 2.")
    need_baselines()
    new = claim_folder(run_dir, {**to_dict(config), **(record or {})})
    finished = read_result(run_dir)
    if finished is not None:
        say(f"{run_dir} is finished already: nothing to do.")
        return Outcome(finished, 0)
    with only_process(run_dir), StopSignal() as stop:
        with undone_on_failure(run_dir, new):
            session = _Session(config, run_dir, logistics, stop, say)
            session.begin()
        return session.run()


def load_policy(config: RunConfig, envs: VectorEnv, checkpoint: Checkpoint, device: torch.device) -> Policy:
    """The policy of a run's checkpoint, for `evaluate_policy`."""
    need_baselines()
    from training.baselines.sb3 import SECTIONS, Learner

    learner = Learner(config, envs, device)
    learner.load_state_dict({name: checkpoint.load(name) for name in SECTIONS})
    return learner.actor()


def need_baselines() -> None:
    """Refuse to go on without Stable-Baselines3.

    Raises:
        UserError: it is missing.
    """
    try:
        import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise UserError(f"PPO needs Stable-Baselines3: {INSTALL}.") from error


def rollout_rows(steps_left: int, rollout: int, num_envs: int) -> tuple[int, bool]:
    """Rows of the next rollout, and whether it is worth learning from.

    The last rollout takes in what would be less than half of another. What is left even so (the rows in
    which episodes began) is collected, for the budget is spent to the end, but is too little to learn from.
    """
    usual, left = max(2, rollout // num_envs), max(1, math.ceil(steps_left / num_envs))
    if left < usual + usual // 2:
        return left, left >= max(2, usual // 2)
    return usual, True


class _Session:
    """One sitting of a run of PPO."""

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        logistics: Logistics,
        stop: StopSignal,
        say: Callable[[str], None],
    ) -> None:
        from training.baselines.sb3 import Learner

        self.config, self.run_dir, self.stop, self.say = config, run_dir, stop, say
        self.logistics = logistics
        training = config.training
        check_beyond(config, logistics)
        self.checkpointer = Checkpointer(run_dir)
        self.checkpoint = self.checkpointer.latest()
        if self.checkpoint is None:
            truncate_after(run_dir, -1)
        else:
            step, loop = self.checkpoint.step, self.checkpoint.load("loop")
            truncate_after(run_dir, step, judged=loop["midway"]["step"] == step)
        self.make_envs = env_factory(config, logistics)
        self.envs = self.make_envs(training.num_envs)
        self.learner = Learner(config, self.envs, choose_device(logistics.device))
        self.bridge = self.learner.bridge
        self.sink = open_sinks(config, run_dir, logistics)
        self.status = Status(run_dir, config, logistics.progress)
        self.midway = Midway(config, self._policy, self.sink)
        self.rollouts = self.updates = self.episodes = 0
        self.seconds = 0.0
        self._clock = time.monotonic()
        self._save_me: tuple[int, dict[str, Any]]

    def begin(self) -> None:
        """Start, or resume from the newest checkpoint."""
        try:
            if self.checkpoint is None:
                self.learner.start()
            else:
                self._continue(self.checkpoint)
        except BaseException:
            self.close()
            raise

    def run(self) -> Outcome:
        """Train and judge."""
        try:
            result = None
            if self._learn():
                with contextlib.suppress(Stopped):  # the checkpoint of the last step is written
                    result = self._judge()
            self._tell("stopped" if result is None else "finished")
            if result is not None:
                return Outcome(result, 0)
            self.say(f"Saved at step {self._save_me[0]:,}; run the same command again to go on.")
            return Outcome(None, self.stop.exit_code)
        except BaseException:
            with contextlib.suppress(UserError):  # on a full disk the first error says more
                self._tell("failed")
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Let go of everything."""
        self.status.close()
        self.sink.close()
        self.envs.close()

    def _learn(self) -> bool:
        """Train until the budget is spent; return False if a stop came first. Saves in both cases."""
        config = self.config
        self._clock = saved_at = time.monotonic()
        self._save_me = self._snapshot()
        while self.bridge.steps < config.steps and not self.stop:
            before = self.bridge.steps
            if not self.midway.gets_through(before):
                break
            rows, update = rollout_rows(
                config.steps - before, config.agent.ppo.rollout, config.training.num_envs
            )
            measured = self.learner.learn(rows, self.rollouts, update, self._after_row)
            if measured is None:
                break  # given up: the same rollout is made again from the last snapshot
            self.rollouts += 1
            self.updates += int(update)
            if self.bridge.steps // config.training.log_every > before // config.training.log_every:
                self._log(measured)
            self._save_me = self._snapshot()
            if time.monotonic() - saved_at > config.training.checkpoint_seconds:
                self._save()
                saved_at = time.monotonic()
        self._save()
        return self._save_me[0] >= config.steps

    def _after_row(self) -> bool:
        for episode in self.bridge.episodes:
            self.episodes += 1
            self.sink.episode(self.bridge.steps, episode)
        self.bridge.episodes.clear()
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        self.status.report(self.bridge.steps, self.updates, self.seconds)
        return not self.stop

    def _log(self, measured: Mapping[str, float]) -> None:
        broken = sorted(
            name for name, value in measured.items() if name == "train/loss" and not np.isfinite(value)
        )
        if broken:
            raise UserError(
                f"Training diverged before step {self.bridge.steps:,} (the loss is not finite); the last "
                "checkpoint is intact: lower --agent.ppo.lr and start a new run."
            )
        metrics = {name.replace("train/", "ppo/"): value for name, value in measured.items()}
        self.sink.write(self.bridge.steps, {**metrics, "updates": self.updates, "episodes": self.episodes})

    def _snapshot(self) -> tuple[int, dict[str, Any]]:
        """Everything that the next rollout depends on, but for the weights, which it does not change."""
        moments = self.learner.state_dict()["moments"]
        loop = {
            "rollouts": self.rollouts,
            "updates": self.updates,
            "episodes": self.episodes,
            "seconds": self.seconds,
            "midway": self.midway.state_dict(),
        }
        collector = {"envs": self.envs.state_dict(), "rows": dict(self.bridge.rows)}
        return self.bridge.steps, {"moments": moments, "collector": collector, "loop": loop}

    def _save(self) -> None:
        step, sections = self._save_me
        self.checkpointer.save(
            step,
            {**self.learner.state_dict(), **sections},
            metadata={"phase": self.config.phase, SPACES: self._spaces()},
        )

    def _spaces(self) -> dict[str, Any]:
        return describe_spaces(self.envs.observation_space, self.envs.action_space)

    def _continue(self, checkpoint: Checkpoint) -> None:
        from training.baselines.sb3 import SECTIONS

        check_unchanged(checkpoint.metadata, self.config.env, self._spaces())
        self.learner.load_state_dict({name: checkpoint.load(name) for name in SECTIONS})
        collector, loop = checkpoint.load("collector"), checkpoint.load("loop")
        self.envs.load_state_dict(collector["envs"])
        self.bridge.steps = checkpoint.step
        self.learner.go_on(dict(collector["rows"]))
        self.rollouts, self.updates = loop["rollouts"], loop["updates"]
        self.episodes, self.seconds = loop["episodes"], loop["seconds"]
        self.midway.load_state_dict(loop["midway"])
        self.say(f"Going on from step {checkpoint.step:,} ({checkpoint.path.name}).")

    def _policy(self) -> dict[str, float]:
        """Measures of the policy as it is now, on the episodes that judge this run at every moment."""
        episodes, seed = self.config.training.evaluation_episodes, self.config.seed + EVALUATION_SEED
        found = evaluate_policy(self.learner.actor(), self.make_envs, episodes, seed, self.stop.check)
        return summarise_episodes(self.config.env, found)

    def _judge(self) -> dict[str, Any]:
        """Evaluate the policy, and write result.json; there is no model to judge."""
        began = time.monotonic()
        config, step = self.config, self.bridge.steps
        summary = self._policy()
        seed = config.seed + EVALUATION_SEED
        beyond = judge_beyond(self.learner.actor(), config, self.logistics, seed, self.stop.check)
        metrics, success = by_scope({"": summary, **beyond})
        result = {
            "metrics": metrics,
            **success,
            "episodes": config.training.evaluation_episodes,
            "environment_steps": step,
            "updates": self.updates,
            "wall_seconds": self.seconds + time.monotonic() - began,
            "evaluation_seconds": self.midway.seconds,
            "parameters": self.learner.parameters,
            "observed": observed_kinds(self.envs.observation_space),
            "version": __version__,
        }
        self.sink.write(step, judgement(summary, config))
        self.sink.summary({**metrics, "environment_steps": step})
        publish_json(self.run_dir / "result.json", result)
        return result

    def _tell(self, state: str) -> None:
        self.status.write(state, self.bridge.steps, self.updates, self.seconds)
