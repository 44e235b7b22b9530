"""The uniformly random policy as a run like any other: measured on the same episodes, and nothing learned."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np

from envs import Rows
from expedition import UserError, __version__
from training.config import RunConfig, to_dict
from training.judging.beyond import check_beyond, judge_beyond
from training.judging.evaluation import (
    MakeEnvs,
    by_scope,
    evaluate_policy,
    judgement,
    random_actions,
    summarise_episodes,
)
from training.logging.progress import Status
from training.logging.sinks import truncate_after
from training.logging.wandb_sink import open_sinks
from training.process.logistics import Logistics, env_factory
from training.process.runtime import Stopped, StopSignal
from training.session import EVALUATION_SEED, Outcome
from training.spaces import observed_kinds
from training.storage.folder import claim_folder, only_process, read_result, undone_on_failure
from training.storage.state_tree import publish_json


class RandomPolicy:
    """Acts uniformly at random; a `Policy`.

    Args:
        action_space: of the environment: Discrete, MultiDiscrete, or a Box that the learner sees as [-1, 1].
    """

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        self.action_space = action_space

    def initial_state(self, batch: int, seed: int) -> np.random.Generator:
        """The generator of all its samples."""
        return np.random.default_rng(seed)

    def act(
        self, rows: Rows, state: np.random.Generator, mode: Literal["evaluate"]
    ) -> tuple[np.ndarray, np.random.Generator, None]:
        """Uniform actions (N, A)."""
        return random_actions(self.action_space, len(rows["is_first"]), state), state, None


def execute_random(
    config: RunConfig,
    run_dir: Path,
    logistics: Logistics,
    record: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Evaluate the random policy in `run_dir`; arguments as those of `execute`.

    A run that was stopped or killed has written no result; the same command makes it from its beginning.

    Raises:
        UserError: the run is of phase 1, has steps to learn from, or the folder holds another run.
    """
    if config.phase != "finetune" or config.steps:
        raise UserError(
            "The random policy learns nothing, so it takes no environment steps and explores nothing: ask "
            "for it in phase 2 with 0 steps, or explore with the intrinsic reward random-data."
        )
    new = claim_folder(run_dir, {**to_dict(config), **(record or {})})
    finished = read_result(run_dir)
    if finished is not None:
        say(f"{run_dir} is finished already: nothing to do.")
        return Outcome(finished, 0)
    with only_process(run_dir), StopSignal() as stop:
        with undone_on_failure(run_dir, new):
            make_envs = env_factory(config, logistics)
            envs = make_envs(1)
            spaces = envs.observation_space, envs.action_space
            envs.close()
            check_beyond(config, logistics)
        return _judge(config, run_dir, logistics, make_envs, spaces, stop, say)


def _judge(
    config: RunConfig,
    run_dir: Path,
    logistics: Logistics,
    make_envs: MakeEnvs,
    spaces: tuple[gymnasium.spaces.Dict, gymnasium.Space[Any]],
    stop: StopSignal,
    say: Callable[[str], None],
) -> Outcome:
    """Evaluate, and write result.json; a stop leaves the evaluation to be made anew."""
    began = time.monotonic()
    truncate_after(run_dir, -1)
    sink, status = open_sinks(config, run_dir, logistics), Status(run_dir, config, logistics.progress)
    state, result = "stopped", None
    try:
        policy, seed = RandomPolicy(spaces[1]), config.seed + EVALUATION_SEED
        with contextlib.suppress(Stopped):
            episodes = evaluate_policy(
                policy, make_envs, config.training.evaluation_episodes, seed, stop.check
            )
            summary = summarise_episodes(config.env, episodes)
            beyond = judge_beyond(policy, config, logistics, seed, stop.check)
            metrics, success = by_scope({"": summary, **beyond})
            result = {
                "metrics": metrics,
                **success,
                "episodes": len(episodes),
                "environment_steps": 0,
                "updates": 0,
                "wall_seconds": time.monotonic() - began,
                "parameters": 0,
                "observed": observed_kinds(spaces[0]),
                "version": __version__,
            }
            sink.write(0, judgement(summary, config))
            sink.summary({**metrics, "environment_steps": 0})
            publish_json(run_dir / "result.json", result)
            state = "finished"
    except BaseException:
        state = "failed"
        raise
    finally:
        with contextlib.suppress(UserError):  # on a full disk the first error says more
            status.write(state, 0, 0, time.monotonic() - began)
        status.close()
        sink.close()
    if result is not None:
        return Outcome(result, 0)
    say("Stopped amid the evaluation; run the same command again to make it anew.")
    return Outcome(None, stop.exit_code)
