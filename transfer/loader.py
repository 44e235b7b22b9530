"""Carrying a plan out: components from a phase-1 checkpoint into a fresh phase-2 agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents import DreamerAgent, PolicyPrior
from agents.prior import PREFIX
from envs import TASK
from expedition import UserError
from training import (
    Checkpoint,
    Replay,
    RunConfig,
    fingerprint,
    open_checkpoint,
    read_config,
    to_dict,
)
from training.run import most_rows
from transfer.plan import CARRIED, COMPONENTS, TransferPlan
from transfer.relabel import recorded_reward


@dataclasses.dataclass(frozen=True)
class Source:
    """A finished or stopped phase-1 run, from which components come."""

    run_dir: Path
    config: RunConfig
    checkpoint: Checkpoint

    @property
    def identity(self) -> dict[str, Any]:
        """What names it wherever its folder lies: hash of its settings, and its step."""
        return {"run": fingerprint(to_dict(self.config)), "step": self.checkpoint.step}


def open_source(run_dir: Path) -> Source:
    """Open a phase-1 run's newest checkpoint.

    Raises:
        UserError: no run or no whole checkpoint there, or a run of phase 2.
    """
    if not run_dir.exists():
        raise UserError(f"There is no run at {run_dir}: give --from the folder of a pre-training run.")
    config = read_config(run_dir)
    if config.phase != "pretrain":
        raise UserError(f"{run_dir} is a fine-tuning run: give --from the folder of a pre-training run.")
    return Source(run_dir, config, open_checkpoint(run_dir))


def transfer_record(plan: TransferPlan, source: Source | None) -> dict[str, Any]:
    """The transfer's part of a run's settings, which decides whether a folder holds the same run."""
    identity = source.identity if source is not None and plan.carries else None
    return {"transfer": {"plan": plan.name, "modes": plan.as_dict(), "source": identity}}


class Transfer:
    """Initialises a phase-2 agent by a plan.

    Args:
        plan: what is carried.
        source: from where; may be None if the plan carries nothing.
        config: the phase-2 run.

    Raises:
        UserError: the plan needs a source, the source's model has another size, or there is nothing to learn
            from offline.
    """

    def __init__(self, plan: TransferPlan, source: Source | None, config: RunConfig) -> None:
        if plan.carries and source is None:
            raise UserError(f"Plan '{plan.name}' carries components: say from which run with --from.")
        self.plan = plan
        self.source = source
        self.config = config
        if config.training.offline_updates and plan["replay"] != "relabel":
            raise UserError(
                f"Plan '{plan.name}' brings no rows with rewards, so there is nothing to learn from before "
                "the first step: use replay=relabel, or leave out offline_updates."
            )
        copied = [name for name in COMPONENTS if plan[name] in CARRIED and name != "replay"]
        if source is not None and copied and source.config.agent.model != config.agent.model:
            raise UserError(
                f"The model in {source.run_dir} has the size '{source.config.size}' and its own widths, this "
                f"run's is '{config.size}': weights do not fit; fine-tune with the source's settings."
            )

    @property
    def carried_rows(self) -> int:
        """Rows of each environment that the carried replay may hold."""
        if self.source is None or self.plan["replay"] == "fresh":
            return 0
        return most_rows(self.source.checkpoint.step, self.source.config.training.num_envs)

    def prepare(self, agent: DreamerAgent) -> None:
        """Attach the teacher and freeze what stays as it is."""
        if self.plan["actor"] == "prior":
            assert self.source is not None
            teacher = DreamerAgent(
                agent.observation_space,
                agent.action_space,
                self.source.config.agent,
                None,
                self.config.seed,
                agent.device,
            )
            settings = self.config.agent.prior
            agent.attach_prior(
                PolicyPrior(teacher.world_model, teacher.behaviour, settings, self.config.steps)
            )
        for component in COMPONENTS:
            if self.plan[component] == "freeze":
                agent.freeze(component, self.plan.thaw_step(component))

    def load(self, agent: DreamerAgent, replay: Replay) -> Mapping[str, Any]:
        """Load every carried component and return the manifest of what came from where.

        Raises:
            UserError: a component is missing in the checkpoint, or does not fit.
        """
        manifest: dict[str, Any] = {"plan": self.plan.name, "components": {}}
        if self.source is None or not self.plan.carries:
            return manifest
        checkpoint = self.source.checkpoint
        manifest["source"] = {
            "folder": str(self.source.run_dir.resolve()),
            "checkpoint": checkpoint.path.name,
            **self.source.identity,
        }
        components = agent.components()
        for name, mode in self.plan.as_dict().items():
            if mode == "fresh":
                continue
            told = {}
            if mode == "prior":
                parts = self._load_prior(agent)
            elif name == "replay":
                reward = self._load_replay(replay)
                told = {} if reward is None else {"reward": reward}
                parts = {"replay": checkpoint.section_hash("replay")}
            else:
                self._load_module(components[name], name)
                parts = {name: checkpoint.section_hash(name)}
            manifest["components"][name] = {"mode": mode, **told, "sha256": parts}
        return manifest

    def _load_module(self, module: Any, name: str) -> None:
        assert self.source is not None
        checkpoint = self.source.checkpoint
        if name not in checkpoint.sections:
            raise UserError(
                f"{checkpoint.path} holds no component '{name}': it is not a source for this plan."
            )
        try:
            module.load_state_dict(checkpoint.load(name))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(
                f"The component '{name}' of {checkpoint.path} does not fit this run's ({reason}): fine-tune "
                "on an environment with the same observations and actions, and with the source's settings."
            ) from error

    def _load_prior(self, agent: DreamerAgent) -> dict[str, str]:
        """Load the teacher's encoder, dynamics and actor; returns their hashes."""
        assert self.source is not None
        assert agent.prior is not None
        parts = {"encoder": agent.prior.encoder, "dynamics": agent.prior.dynamics, "actor": agent.prior.actor}
        for name, module in parts.items():
            self._load_module(module, name)
        return {name: self.source.checkpoint.section_hash(name) for name in parts}

    def _reward_name(self, saved: Mapping[str, Any]) -> str | None:
        """Name in the saved rows of the reward that the plan relabels them with; None: it does not."""
        if self.plan["replay"] != "relabel":
            return None
        assert self.source is not None
        recorded = {name[len(TASK) :] for name in saved["head"] if name.startswith(TASK)}
        asked = self.plan.recorded_reward
        return TASK + recorded_reward(self.source.config.env, self.config.env, recorded, asked)

    def _load_replay(self, replay: Replay) -> str | None:
        """Put phase 1's rows in front of the new ones; what is unknown there is NaN.

        Returns:
            Name of the recorded reward that the rows now have; None if they have none.
        """
        assert self.source is not None
        checkpoint, training = self.source.checkpoint, self.source.config.training
        saved = checkpoint.load("replay")
        reward = self._reward_name(saved)
        unknown = {
            name: np.full((replay.num_envs, *shape), np.nan, dtype)
            for name, (shape, dtype) in replay.row_spec.items()
            if (name == "reward" and reward is None)
            or name.startswith(PREFIX)
            or (name.startswith(TASK) and name not in saved["head"])
        }
        spec = {name: entry for name, entry in replay.row_spec.items() if name not in (*unknown, "reward")}
        spec |= {name: replay.row_spec["reward"] for name in saved["head"] if name.startswith(TASK)}
        if training.num_envs != replay.num_envs:
            raise UserError(
                f"The carried replay has {training.num_envs} environments side by side, this run "
                f"{replay.num_envs}: fine-tune with --training.num-envs {training.num_envs}."
            )
        rows = self.carried_rows
        row_bytes = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in spec.values())
        held = Replay(training.num_envs, spec, rows * training.num_envs * row_bytes, rows)
        try:
            held.load_state_dict(saved, checkpoint.shared_files)
        except ValueError as error:
            raise UserError(
                f"The replay of {checkpoint.path} does not fit this run's ({str(error).rstrip('.')}): "
                "fine-tune on an environment with the same observations and actions."
            ) from error
        streams = list(held.sequences())
        origin = {name: name for name in spec if name in replay.row_spec}
        origin |= {} if reward is None else {"reward": reward}
        for t in range(len(streams[0]["is_first"])):
            known = {name: np.stack([s[old][t] for s in streams]) for name, old in origin.items()}
            replay.add({**known, **unknown})
        return reward
