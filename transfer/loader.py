"""Carrying a plan out: components from a phase-1 checkpoint into a fresh phase-2 agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from agents import Agent, Guidance, PolicyPrior, make_agent
from agents.base import LOG_PROB
from agents.prior import PREFIX
from envs import TASK
from expedition import UserError
from exploration import EARNED
from training import (
    Checkpoint,
    Replay,
    RunConfig,
    fingerprint,
    open_checkpoint,
    read_config,
    to_dict,
)
from training.budget import most_rows
from training.logging.artifacts import Artifact, checkpoint_artifact
from training.spaces import describe_spaces
from training.storage.folder import read_settings
from training.storage.hub import located
from training.storage.replay import RowSpec, saved_rows
from training.storage.shared import origin
from transfer.cloning import clone
from transfer.data.pretraining import laid_rows
from transfer.data.sources import RunData
from transfer.fitting import check_kinds, check_predictions, check_spaces, check_thaws, misfits
from transfer.plan import CARRIED, COMPONENTS, TAUGHT, TransferPlan
from transfer.relabel import recorded_reward
from transfer.retrieval import Retrieved, embedding, first_observations, lay_beside, retrieve

CLONED = ("action", "is_first", "is_last", "is_terminal")
"""What a clone learns from, beside observations."""
PREDICTING = ("decoder", "reward", "continue")
"""Components that a model-free agent does not have."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A finished or stopped phase-1 run, from which components come."""

    run_dir: Path
    config: RunConfig
    checkpoint: Checkpoint
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of others, that it learned from in place of steps, as `data_record` has them."""

    @property
    def identity(self) -> dict[str, Any]:
        """What names it wherever its folder lies: hash of its settings, and its step."""
        return {"run": fingerprint({**to_dict(self.config), **self.data}), "step": self.checkpoint.step}


def open_source(source: Path | str) -> Source:
    """Open a phase-1 run's newest checkpoint.

    Args:
        source: the run's folder, or one that was exported, or `hf:OWNER/NAME` on the Hugging Face hub.

    Raises:
        UserError: no run or no whole checkpoint there, or a run of phase 2.
    """
    run_dir, config = located(source), source_config(source)
    data = {name: value for name, value in read_settings(run_dir).items() if name == "data"}
    return Source(run_dir, config, open_checkpoint(run_dir), data)


def source_config(source: Path | str) -> RunConfig:
    """Settings of a phase-1 run, whose checkpoints are not looked at.

    Raises:
        UserError: no run there, or one of phase 2.
    """
    run_dir = located(source)
    if not run_dir.exists():
        raise UserError(f"There is no run at {run_dir}: give --from the folder of a pre-training run.")
    config = read_config(run_dir)
    if config.phase != "pretrain":
        raise UserError(f"{run_dir} is a fine-tuning run: give --from the folder of a pre-training run.")
    return config


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
        self._check_weights()
        check_kinds(plan, None if source is None else source.config.agent, config.agent)
        self._check_replay()
        check_thaws(plan, config.training)

    def _check_weights(self) -> None:
        """Refuse networks of other widths, or of another meaning, than those that are copied."""
        copied = [name for name in COMPONENTS if self.plan[name] in CARRIED and name != "replay"]
        if self.source is None or not copied:
            return
        strange = misfits(self.source.config.agent, self.config.agent)
        if not {"actor", "critic"} & set(copied):
            strange = [name for name in strange if name.startswith("model.")]
        if strange:
            raise UserError(
                f"The agent in {self.source.run_dir} has another {' and '.join(strange)} (its size is "
                f"'{self.source.config.size}', this run's '{self.config.size}'): weights do not fit; "
                "fine-tune with the source's settings."
            )
        check_predictions(self.plan, self.source.config.agent, self.config.agent)

    def _check_replay(self) -> None:
        """Refuse to retrieve from a source that has no replay."""
        asks = self.plan["replay"] == "retrieve" or self.plan["actor"] == "clone"
        if asks and self.source is not None and "replay" not in self.source.checkpoint.sections:
            raise UserError(
                f"Plan '{self.plan.name}' retrieves trajectories from the source's replay, and "
                f"{self.source.run_dir} has none (it was exported without): give --from the run itself, or "
                "export it with its replay."
            )

    @property
    def carried_rows(self) -> int:
        """Rows of each environment that the carried replay may hold."""
        if self.source is None or self.plan["replay"] == "fresh":
            return 0
        if self.plan["replay"] == "retrieve":
            return laid_rows(RunData(self.source.run_dir).rows, self.config.training.num_envs)
        num_envs = self.source.config.training.num_envs
        laid = [laid_rows(entry["rows"], num_envs) for entry in self.source.data.get("data", {}).values()]
        return most_rows(self.source.checkpoint.step, num_envs) + sum(laid)

    @property
    def artifact(self) -> Artifact | None:
        """The source's checkpoint as W&B knows it; None if nothing is carried."""
        if self.source is None or not self.plan.carries:
            return None
        return checkpoint_artifact(self.source.run_dir, self.source.config, self.source.checkpoint)

    def prepare(self, agent: Agent) -> None:
        """Attach the teacher and freeze what stays as it is.

        Raises:
            UserError: a carried component has learned of other observations or actions than this run's.
        """
        if self.source is not None:
            here = describe_spaces(agent.observation_space, agent.action_space)
            source, metadata = self.source.config, self.source.checkpoint.metadata
            check_spaces(self.plan, source.env, metadata, here, source.agent.model.objects.kind)
        if self.plan["actor"] in TAUGHT:
            assert self.source is not None
            teacher = make_agent(
                agent.observation_space,
                agent.action_space,
                self.source.config.agent,
                None,
                self.config.seed,
                agent.device,
            )
            parts, settings, steps = (
                (teacher.world_model, teacher.behaviour),
                self.config.agent,
                self.config.steps,
            )
            guides = self.plan["actor"] == "clone"
            agent.attach_prior(
                Guidance(*parts, settings.guidance, steps)
                if guides
                else PolicyPrior(*parts, settings.prior, steps)
            )
        for component in COMPONENTS:
            if self.plan[component] == "freeze" and not self._absent(component):
                agent.freeze(component, self.plan.thaw_step(component))

    def load(self, agent: Agent, replay: Replay, check: Callable[[], None]) -> Mapping[str, Any]:
        """Load every carried component and return the manifest of what came from where.

        Args:
            agent: fresh, and prepared.
            replay: empty.
            check: called now and then; it raises where a stop came.

        Raises:
            UserError: a component is missing in the checkpoint, or does not fit.
        """
        manifest: dict[str, Any] = {"plan": self.plan.name, "components": {}}
        if self.source is None or not self.plan.carries:
            return manifest
        checkpoint = self.source.checkpoint
        manifest["source"] = {
            "folder": origin(self.source.run_dir),
            "checkpoint": checkpoint.path.name,
            **self.source.identity,
        }
        components = agent.components()
        for name, mode in self.plan.as_dict().items():
            if mode == "fresh":
                continue
            if self._absent(name):
                manifest["components"][name] = {"mode": "absent", "sha256": {}}
                continue
            told: dict[str, Any] = {}
            if mode == "prior":
                parts = self._load_prior(agent, ("encoder", "dynamics", "actor"))
            elif mode == "clone":
                parts = self._load_prior(agent, ("encoder", "dynamics"))
                parts["replay"] = checkpoint.section_hash("replay")
                told = self._clone(agent, check)
            elif mode == "retrieve":
                told = self._rehearse(agent, replay)
                parts = {"replay": checkpoint.section_hash("replay")}
            elif name == "replay":
                reward = self._load_replay(replay, check)
                told = {} if reward is None else {"reward": reward}
                parts = {"replay": checkpoint.section_hash("replay")}
            else:
                self._load_module(components[name], name)
                parts = {name: checkpoint.section_hash(name)}
            manifest["components"][name] = {"mode": mode, **told, "sha256": parts}
        if self.plan["encoder"] in CARRIED and (self.plan["decoder"] == "fresh" or self._absent("decoder")):
            agent.start_targets()
        return manifest

    def _absent(self, name: str) -> bool:
        """Whether a component is fresh in spite of the plan, for a model-free source or agent has none."""
        assert self.source is not None
        kinds = (self.source.config.agent.kind, self.config.agent.kind)
        return name in PREDICTING and "model-free" in kinds

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

    def _load_prior(self, agent: Agent, names: Sequence[str]) -> dict[str, str]:
        """Load parts of the teacher; returns their hashes."""
        assert self.source is not None
        for name in names:
            self._load_module(getattr(agent.prior, name), name)
        return {name: self.source.checkpoint.section_hash(name) for name in names}

    def _clone(self, agent: Agent, check: Callable[[], None]) -> dict[str, Any]:
        """Fit the teacher's actor to retrieved trajectories; returns what is told of it."""
        assert agent.prior is not None
        found = self._retrieve(agent, agent.prior.encoder)
        seen = (*agent.observation_space.keys(), *CLONED)
        rows = {name: values for name, values in found.rows.items() if name in seen}
        settings, seed = self.config.agent.guidance, self.config.seed
        loss = clone(agent.prior, rows, settings, seed, agent.device, check)
        return {**found.told(), "loss": loss}

    def _retrieve(self, agent: Agent, encoder: nn.Module) -> Retrieved:
        """The source's trajectories that begin nearest to this run's environment."""
        assert self.source is not None
        settings = self.config.training.rehearsal
        embed = embedding(encoder, list(agent.observation_space.keys()), agent.device)
        starts = embed(first_observations(self.config, settings.starts))
        found = retrieve(RunData(self.source.run_dir), embed, starts, settings.trajectories)
        if found is None:
            raise UserError(
                f"The replay of {self.source.run_dir} holds no beginning of an episode, so nothing can be "
                "retrieved from it: explore for longer, or leave replay=retrieve and actor=clone out."
            )
        return found

    def _rehearse(self, agent: Agent, replay: Replay) -> dict[str, Any]:
        """Lay retrieved trajectories into the replay, with their share; returns what is told of them."""
        found = self._retrieve(agent, agent.world_model.encoder)
        rows = _as_replayed(found.rows, replay.row_spec, None, _unknown(replay.row_spec, found.rows, None))
        lay_beside(replay, rows, self.config)
        return found.told()

    def _reward_name(self, saved: Mapping[str, Any]) -> str | None:
        """Name in the saved rows of the reward that the plan relabels them with; None: it does not."""
        if self.plan["replay"] != "relabel":
            return None
        assert self.source is not None
        recorded = {name[len(TASK) :] for name in saved["head"] if name.startswith(TASK)}
        asked = self.plan.recorded_reward
        return TASK + recorded_reward(self.source.config.env, self.config.env, recorded, asked)

    def _load_replay(self, replay: Replay, check: Callable[[], None]) -> str | None:
        """Put phase 1's rows in front of the new ones; what is unknown there is NaN.

        Returns:
            Name of the recorded reward that the rows now have; None if they have none.
        """
        assert self.source is not None
        checkpoint, training = self.source.checkpoint, self.source.config.training
        if training.num_envs != replay.num_envs:
            raise UserError(
                f"The carried replay has {training.num_envs} environments side by side, this run "
                f"{replay.num_envs}: fine-tune with --training.num-envs {training.num_envs}."
            )
        saved = checkpoint.load("replay")
        reward = self._reward_name(saved)
        unknown = _unknown(replay.row_spec, saved["head"], reward)
        try:
            for _, rows in saved_rows(saved, checkpoint.whole_files()):
                check()
                replay.extend(_as_replayed(rows, replay.row_spec, reward, unknown))
        except ValueError as error:
            raise UserError(
                f"The replay of {checkpoint.path} does not fit this run's ({str(error).rstrip('.')}): "
                "fine-tune on an environment with the same observations and actions."
            ) from error
        return reward


def _unknown(row_spec: RowSpec, saved: Mapping[str, Any], reward: str | None) -> list[str]:
    """Names in `row_spec` of which carried rows tell nothing; `reward` is their name for the task's."""
    return [
        name
        for name in row_spec
        if (name == "reward" and reward is None)
        or name.startswith(PREFIX)
        or (name.startswith((TASK, LOG_PROB)) and name not in saved)
    ]


def _as_replayed(
    rows: Mapping[str, np.ndarray], row_spec: RowSpec, reward: str | None, unknown: Sequence[str]
) -> dict[str, np.ndarray]:
    """Carried rows (..., n, ...): the recorded `reward` in its place, NaN for what is unknown.

    Task rewards and what was earned by goals are left out where this run does not store them.
    """
    found = {n: rows[n] for n in rows if n in row_spec or not n.startswith((TASK, EARNED))}
    if reward is not None:
        found["reward"] = rows[reward]
    for name in unknown:
        shape, dtype = row_spec[name]
        found[name] = np.full((*rows["is_first"].shape, *shape), np.nan, dtype)
    return found
