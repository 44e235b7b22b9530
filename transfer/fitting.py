"""Whether what was learned of one environment's spaces means anything in those of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents import AgentConfig
from expedition import UserError
from training import TrainingConfig
from training.spaces import SPACES, any_number, told_observations
from transfer.plan import CARRIED, COMPONENTS, TransferPlan
from world_model.sizes import LOSS_SETTINGS, ObjectsKind

_SEEING = ("encoder", "decoder", "actor", "replay")
"""What knows observations by their names and order; a copied actor comes with its encoder anyway."""
_ACTING = ("dynamics", "actor", "replay")
"""What knows what an action is."""


def check_spaces(
    plan: TransferPlan,
    source_env: str,
    metadata: Mapping[str, Any],
    here: Mapping[str, Any],
    objects: ObjectsKind = "graph",
) -> None:
    """Refuse to carry what knows other observations or actions, though widths agree by chance.

    Weights that read sets of objects as graphs, and those that point at them, fit scenes of any number of
    objects; rows of a replay, and weights that read them in a row, do not.

    Args:
        plan: what is carried; components that it leaves fresh may differ.
        source_env: id of the environment that was explored.
        metadata: of the source's checkpoint; one of an older version has no spaces on record.
        here: the spaces of phase 2, as `describe_spaces` gives them.
        objects: how the carried weights read sets of objects.

    Raises:
        UserError: naming the component and both spaces.
    """
    there = metadata.get(SPACES)
    if there is None:
        return
    for knowing, part, told in (
        (_ACTING, "actions", _told_actions),
        (_SEEING, "observations", told_observations),
    ):
        if there[part] == here[part]:
            continue
        scaled = any_number(there)[part] == any_number(here)[part]
        carried = [name for name in knowing if plan[name] != "fresh"]
        refused = [name for name in carried if not scaled or objects == "plain" or name == "replay"]
        if refused:
            raise UserError(
                f"Plan '{plan.name}' carries the {refused[0]}, which learned of the {part} {told(there)} of "
                f"'{source_env}' and not of {told(here)}: {_advice(scaled, refused[0])}."
            )


def _told_actions(described: Mapping[str, Any]) -> str:
    return described["actions"]


def _advice(scaled: bool, component: str) -> str:
    """What to do where spaces differ, or differ in their numbers of objects alone."""
    if not scaled:
        return "fine-tune on an environment with the same observations and actions, or carry less"
    if component == "replay":
        return "its rows hold another number of objects, so leave the replay out"
    return (
        "read in a row, objects fit one number of them, so pre-train with agent.model.objects.kind graph, or "
        "carry less"
    )


def misfits(there: AgentConfig, here: AgentConfig) -> list[str]:
    """Names of the settings in which two agents differ so that weights of one mean nothing in the other.

    What only decides how weights go on learning may differ: learning rates, entropy, discount, loss weights.
    """
    shaping = [f.name for f in dataclasses.fields(there.model) if f.name not in LOSS_SETTINGS]
    found = [f"model.{n}" for n in shaping if getattr(there.model, n) != getattr(here.model, n)]
    return found + ["behaviour.layers"] * (there.behaviour.layers != here.behaviour.layers)


def check_predictions(plan: TransferPlan, there: AgentConfig, here: AgentConfig) -> None:
    """Refuse to carry what predicts one thing into a model that predicts another.

    Raises:
        UserError: naming both kinds of prediction.
    """
    told = there.model.predicts, here.model.predicts
    carried = plan["decoder"] in CARRIED and "model-free" not in (there.kind, here.kind)
    if carried and told[0] != told[1]:
        raise UserError(
            f"Plan '{plan.name}' carries the decoder, in whose place the source has '{told[0]}' and the new "
            f"agent '{told[1]}': fine-tune with agent.model.predicts {told[0]}, or add decoder=fresh to the "
            "plan."
        )


def check_kinds(plan: TransferPlan, there: AgentConfig | None, here: AgentConfig) -> None:
    """Refuse what means nothing to, or from, a model-free agent, and anything to a baseline.

    Raises:
        UserError: naming what is carried, and what to do.
    """
    baselines = {"ppo": "PPO", "random": "the random policy"}
    if plan.carries and here.kind in baselines:
        raise UserError(
            f"Plan '{plan.name}' carries components, and {baselines[here.kind]} has no place for them: use "
            "the plan scratch."
        )
    if here.kind == "model-free" and plan["replay"] in ("copy", "retrieve"):
        raise UserError(
            f"Plan '{plan.name}' carries the replay without its rewards, from which a model-free agent "
            "learns nothing: leave the replay out, or fine-tune with --agent.kind model-based."
        )
    if there is not None and there.kind == "model-free" != here.kind and plan["dynamics"] == "freeze":
        raise UserError(
            f"Plan '{plan.name}' freezes the dynamics of a model-free source, which never learned to "
            "predict: copy them."
        )


def check_thaws(plan: TransferPlan, training: TrainingConfig) -> None:
    """Refuse a `freeze:N` that ends before anything learns.

    Raises:
        UserError: naming the component and the step of the first update.
    """
    if training.offline_updates:
        return  # it rests in those
    for component in COMPONENTS:
        step = plan.thaw_step(component)
        if step is not None and step <= training.learning_starts:
            raise UserError(
                f"Plan '{plan.name}': the {component} thaws at step {step:,}, and nothing learns before step "
                f"{training.learning_starts:,} (training.learning_starts): freeze it for longer, or copy it."
            )
