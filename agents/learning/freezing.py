"""Which components do not learn, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


class Freezer:
    """Keeps components from learning, for good or up to an environment step.

    A frozen parameter has no gradient, and an optimiser that leaves such parameters alone (`LaProp`) begins
    their moments and their warm-up when they thaw; those of all others go on.
    """

    def __init__(self) -> None:
        self._resting: dict[str, tuple[int | None, list[nn.Parameter]]] = {}

    def freeze(self, name: str, component: nn.Module, until: int | None) -> None:
        """Exclude a component from learning.

        Args:
            name: the component's.
            component: whose parameters rest; those that never learn (a slow critic) are not thawed either.
            until: environment step at which they begin to learn; None: never.
        """
        resting = [parameter for parameter in component.parameters() if parameter.requires_grad]
        self._resting[name] = (until, resting)
        for parameter in resting:
            parameter.requires_grad_(False)

    def thaw(self, env_step: int) -> None:
        """Let those components learn whose time has come."""
        for name, (until, _) in list(self._resting.items()):
            if until is not None and env_step >= until:
                self._release(name)

    def rests(self, name: str) -> bool:
        """Whether a component does not learn now."""
        return name in self._resting

    def state_dict(self) -> dict[str, Any]:
        """Names of the components that rest."""
        return {"resting": sorted(self._resting)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`, for one that froze the same components."""
        for name in set(self._resting) - set(state["resting"]):
            self._release(name)

    def _release(self, name: str) -> None:
        for parameter in self._resting.pop(name)[1]:
            parameter.requires_grad_(True)
