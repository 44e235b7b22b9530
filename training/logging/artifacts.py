"""What W&B's lineage graph is made of: files under a name, made by one run and used by others."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import RunConfig, fingerprint, to_dict
from training.storage.checkpoint import MANIFEST, Checkpoint
from training.storage.state_tree import publish_json

HOLDS = ("manifest", "weights")
"""What a pre-training run's artifact may hold."""
RECORD = "wandb_artifact.json"
WEIGHTS = ("encoder", "dynamics", "decoder", "reward", "continue", "actor", "critic", "normalizers")
"""Sections whose tensors go along where weights are sent: optimiser and replay stay here."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """Files under a name. W&B takes two of equal name and content for one, whoever logs them.

    Attributes:
        name: of letters, digits, `-`, `_` and `.`.
        kind: W&B's type.
        files: name in the artifact -> where the file lies.
        metadata: shown beside it; no part of its identity.
        kept: whether the files stay as they are, so that W&B need not copy them until they are sent.
    """

    name: str
    kind: str
    files: Mapping[str, Path]
    metadata: Mapping[str, Any]
    kept: bool = False


def checkpoint_artifact(run_dir: Path, config: RunConfig, checkpoint: Checkpoint) -> Artifact:
    """The artifact of a pre-training run's checkpoint, the same for who made it and for who uses it.

    It holds the checkpoint's manifest, which has the SHA-256 of every file, and the tensors of its components
    where the run that made it was told so (`record_choice`).
    """
    path, weights = checkpoint.path, _choice(run_dir) == "weights"
    names = [MANIFEST]
    if weights:
        names += [f"{section}{end}" for section in WEIGHTS for end in (".json", ".safetensors")]
    task = "".join(c if c.isalnum() else "-" for c in config.env)[:60].strip("-")
    seen = f"{task}-{config.intrinsic or 'none'}-s{config.seed}"
    return Artifact(
        f"pretrained-{seen}-{fingerprint(to_dict(config))}",
        "checkpoint",
        {name: path / name for name in names if (path / name).exists()},
        {"env": config.env, "intrinsic": config.intrinsic, "seed": config.seed, "step": checkpoint.step},
        kept=weights,
    )


def record_choice(run_dir: Path, holds: str) -> None:
    """Note what a pre-training run's artifact holds, for those who use it later."""
    publish_json(run_dir / RECORD, {"holds": holds})


def _choice(run_dir: Path) -> str:
    try:
        return str(json.loads((run_dir / RECORD).read_text(encoding="utf-8"))["holds"])
    except (OSError, ValueError, KeyError, TypeError):  # it was not logged: who uses it says what it was
        return HOLDS[0]
