"""Evaluations during training: points of a learning curve that are all on the same episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from training.config import RunConfig
from training.judging.evaluation import judgement
from training.logging.sinks import Sink
from training.process.runtime import Stopped


class Midway:
    """Evaluates the policy every `evaluate_every` environment steps, on the episodes of the last evaluation.

    It has environments and samples of its own, so that learning is the same with it and without. A stop amid
    an evaluation leaves it to the next sitting, which makes it before anything else.

    Args:
        config: the run.
        evaluate: gives the measures of the policy as it is now.
        sink: where they go.
    """

    def __init__(self, config: RunConfig, evaluate: Callable[[], Mapping[str, float]], sink: Sink) -> None:
        self.config, self.evaluate, self.sink = config, evaluate, sink
        self.step = 0
        """Environment step of the last evaluation."""
        self.seconds = 0.0
        """Wall clock of them all."""

    def gets_through(self, step: int) -> bool:
        """Evaluate if that is due at this environment step; return False if a stop came amid it."""
        every = self.config.training.evaluate_every
        if not every or step // every <= self.step // every:
            return True
        began = time.monotonic()
        try:
            summary = self.evaluate()
        except Stopped:
            return False
        self.sink.write(step, judgement(summary, self.config))
        self.step, self.seconds = step, self.seconds + time.monotonic() - began
        return True

    def state_dict(self) -> dict[str, Any]:
        """When it evaluated last, and the seconds."""
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.step, self.seconds = state["step"], state["seconds"]
