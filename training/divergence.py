"""Updates that are not made, because their loss or a gradient is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from expedition import UserError
from training.storage.state_tree import disk_errors

IN_A_ROW = 10
"""So many updates that cannot be made, one after the other, are no chance."""
BATCH = "diverged.safetensors"


class Skipped:
    """Counts them; after `IN_A_ROW` the run has diverged.

    Args:
        run_dir: the run's folder, where the last one's batch is then written.

    Attributes:
        total: how many there were.
        error: what to tell once the run has diverged; None until then.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.total = self._in_a_row = 0
        self.error: UserError | None = None

    def note(self, skipped: bool, batch: Mapping[str, Any], metrics: Mapping[str, Tensor]) -> None:
        """Take note of an update from a batch of rows (B, T, ...), made or not."""
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        self.total += skipped
        if self._in_a_row >= IN_A_ROW and self.error is None:
            self._keep(batch)
            broken = sorted(name for name, value in metrics.items() if not value.isfinite().all())[:3]
            self.error = UserError(
                f"Training diverged: in {self._in_a_row} updates in a row a loss or gradient was not finite "
                f"({', '.join(broken) or 'a gradient'}), so they were not made; the last one's batch is in "
                f"{self.run_dir / BATCH}, and what was learned before in the checkpoint: lower "
                "--agent.optimizer.lr and start a new run."
            )

    def _keep(self, batch: Mapping[str, Any]) -> None:
        rows = {name: torch.as_tensor(value).contiguous() for name, value in batch.items()}
        with disk_errors("the batch of a loss that is not finite", self.run_dir, "checkpoints are intact"):
            save_file(rows, self.run_dir / BATCH)

    def state_dict(self) -> dict[str, Any]:
        """Both counts."""
        return {"total": self.total, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.total, self._in_a_row = state["total"], state["in_a_row"]
