"""Doing it: replay, collector, the loop, checkpoints, metric sinks, and one run from config to result."""

from training.config import RunConfig, TrainingConfig, fingerprint, from_dict, to_dict
from training.fused import Errand, execute_together
from training.judging.evaluation import evaluate_policy, heldout_sequences, open_loop, summarise_episodes
from training.process.logistics import Logistics
from training.process.runtime import prepare_process
from training.run import evaluate_run, execute
from training.session import Initialiser, Outcome
from training.storage.checkpoint import Checkpoint, open_checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.folder import read_config, read_result
from training.storage.replay import Replay

__all__ = [
    "Checkpoint",
    "Checkpointer",
    "Errand",
    "Initialiser",
    "Logistics",
    "Outcome",
    "Replay",
    "RunConfig",
    "TrainingConfig",
    "evaluate_policy",
    "evaluate_run",
    "execute",
    "execute_together",
    "fingerprint",
    "from_dict",
    "heldout_sequences",
    "open_checkpoint",
    "open_loop",
    "prepare_process",
    "read_config",
    "read_result",
    "summarise_episodes",
    "to_dict",
]
