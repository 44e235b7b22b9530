"""Whether what was learned of one environment's spaces means anything in those of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents import AgentConfig
from expedition import UserError
from training import TrainingConfig
from training.spaces import SPACES, told_observations
from transfer.plan import CARRIED, COMPONENTS, TransferPlan
from world_model.sizes import LOSS_SETTINGS

_SEEING = ("encoder", "decoder", "actor", "replay")
"""What knows observations by their names and order; a copied actor comes with its encoder anyway."""
_ACTING = ("dynamics", "actor", "replay")
"""What knows what an action is."""


def check_spaces(
    plan: TransferPlan, source_env: str, metadata: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
    """Refuse to carry what knows other observations or actions, though widths agree by chance.

    Args:
        plan: what is carried; components that it leaves fresh may differ.
        source_env: id of the environment that was explored.
        metadata: of the source's checkpoint; one of an older version has no spaces on record.
        here: the spaces of phase 2, as `describe_spaces` gives them.

    Raises:
        UserError: naming the component and both spaces.
    """
    there = metadata.get(SPACES)
    if there is None:
        return
    advice = "fine-tune on an environment with the same observations and actions, or carry less"
    acting = [name for name in _ACTING if plan[name] != "fresh"]
    if acting and there["actions"] != here["actions"]:
        raise UserError(
            f"Plan '{plan.name}' carries the {acting[0]}, which learned of the actions {there['actions']} of "
            f"'{source_env}' and not of {here['actions']}: {advice}."
        )
    seeing = [name for name in _SEEING if plan[name] != "fresh"]
    if seeing and there["observations"] != here["observations"]:
        raise UserError(
            f"Plan '{plan.name}' carries the {seeing[0]}, which learned of the observations "
            f"{told_observations(there)} of '{source_env}' and not of {told_observations(here)}: {advice}."
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
