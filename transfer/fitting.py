"""Whether what was learned of one environment's spaces means anything in those of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expedition import UserError
from training.spaces import SPACES, told_observations
from transfer.plan import TransferPlan

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
