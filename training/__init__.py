"""Doing it: replay, collector, the loop, checkpoints, metric sinks, and one run from config to result."""

from training.checkpoint import Checkpoint, Checkpointer, open_checkpoint
from training.config import RunConfig, TrainingConfig, fingerprint, from_dict, to_dict
from training.evaluation import evaluate_policy, heldout_sequences, open_loop, summarise_episodes
from training.fused import Errand, execute_together
from training.logistics import Logistics
from training.replay import Replay
from training.run import Initialiser, Outcome, evaluate_run, execute, read_config, read_result
from training.runtime import prepare_process

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
