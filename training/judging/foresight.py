"""What the model of a run foresees, measured and drawn on held-out sequences by its decoder or a probe."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import Agent
from agents.base import rows_on
from envs import environment_info
from training.config import RunConfig
from training.judging.evaluation import Check, MakeEnvs, OpenLoop, heldout_sets, open_loop
from training.judging.probe import fit_probe
from training.logging.media import film_strip, write_gif, write_png
from world_model import WorldModel
from world_model.decoder import Decoder
from world_model.prediction import effective_rank

HELDOUT_SEED, PROBE_SEED = 2_000_003, 3_000_017
"""Added to a run's seed, so that it is judged on sequences that neither it nor its probe is trained on."""
PROBE_SEQUENCES = 2
"""For each held-out sequence so many of the same policy fit a probe."""
RANKED_ROWS = 256
"""At most so many embeddings are ranked."""

Found = dict[str, dict[str, Any]]
"""By who decodes (`open_loop`: the model's own decoder; `probe`), then by measure and `by_horizon`, then by
held-out set."""


class Foresight:
    """Judges the model of a run, before its first update and after its last.

    Nothing of the agent changes, and no generator of the run is touched.

    Args:
        config: the run.
        run_dir: its folder, for films.
        make_envs: from a number of environments to them.
        check: called before each step of what takes long.
    """

    def __init__(self, config: RunConfig, run_dir: Path, make_envs: MakeEnvs, check: Check) -> None:
        self.config, self.run_dir, self.make_envs, self.check = config, run_dir, make_envs, check

    @functools.cached_property
    def heldout(self) -> dict[str, dict[str, np.ndarray]]:
        """Held-out sets by name; a sitting that does not judge the model does without their steps."""
        return self._sequences(self.config.training.heldout, HELDOUT_SEED)

    @functools.cached_property
    def probed(self) -> dict[str, np.ndarray]:
        """What probes are fitted to: other sequences of the same policies."""
        sets = self._sequences(PROBE_SEQUENCES * self.config.training.heldout, PROBE_SEED)
        first, *_ = sets.values()
        return {key: np.concatenate([rows[key] for rows in sets.values()]) for key in first}

    def _sequences(self, count: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
        training = self.config.training
        length, seed = training.context + training.open_loop, self.config.seed + seed
        return heldout_sets(self.make_envs, count, length, seed, training.heldout_repeat, self.check)

    def judge(self, agent: Agent, moment: str) -> tuple[Found, dict[str, Path]]:
        """Measure and draw open-loop prediction, and rank the embeddings, of an agent with a model.

        Returns:
            What was found, and films by the name under which they are logged.
        """
        if not isinstance(agent.world_model, WorldModel):
            return {}, {}
        found: Found = {}
        films: dict[str, Path] = {}
        for name, decoder in self._decoders(agent, agent.world_model).items():
            seen = self._foreseen(agent.world_model, decoder)
            found[name] = _by_set(seen)
            films |= draw_prediction(self.config, seen[""], self.run_dir / "media", name, moment)
        rank = embeddings_rank(agent, self.heldout[""])
        return found | {"embeddings": {"effective_rank": {"": rank}}}, films

    def _decoders(self, agent: Agent, model: WorldModel) -> dict[str, Decoder]:
        """Who decodes what the model foresees, by name."""
        decoders: dict[str, Decoder] = {}
        if isinstance(model.decoder, Decoder):
            decoders["open_loop"] = model.decoder
        if self.config.training.probes(bool(decoders)):
            rows, updates = rows_on(agent.device, self.probed), self.config.training.probe_updates
            space, seed = agent.observation_space, self.config.seed
            decoders["probe"] = fit_probe(model, space, rows, updates, seed, self.check)
        return decoders

    def _foreseen(self, model: WorldModel, decoder: Decoder) -> dict[str, OpenLoop]:
        """Open-loop prediction of each held-out set; that of the first can be drawn."""
        context, seed = self.config.training.context, self.config.seed
        draw = environment_info(self.config.env).draw
        seen = {}
        for name, rows in self.heldout.items():
            self.check()
            seen[name] = open_loop(model, decoder, rows, context, seed, draw=draw if name == "" else None)
        return seen


def _by_set(seen: Mapping[str, OpenLoop]) -> dict[str, dict[str, Any]]:
    """Measures and `by_horizon` of each held-out set."""
    found: dict[str, dict[str, Any]] = {"error": {name: each.error for name, each in seen.items()}}
    for measure in seen[""].symbols:
        found[measure] = {name: each.symbols[measure] for name, each in seen.items()}
    return found | {"by_horizon": {name: each.by_horizon for name, each in seen.items()}}


@torch.no_grad()
def embeddings_rank(agent: Agent, rows: Mapping[str, Any]) -> float:
    """Effective rank of the embeddings of some of the rows (B, T, ...)."""
    embeddings = agent.world_model.encoder(rows_on(agent.device, rows)).flatten(0, 1)
    every = max(1, len(embeddings) // RANKED_ROWS)
    return float(effective_rank(embeddings[::every][:RANKED_ROWS]))


def measures(found: Found) -> Iterator[tuple[str, str, str, float]]:
    """Who decodes, measure, held-out set and value of all that was found over all predicted rows."""
    for reader, by_measure in found.items():
        for measure, by_set in by_measure.items():
            if measure != "by_horizon":
                yield from ((reader, measure, name, value) for name, value in by_set.items())


def told(found: Found) -> dict[str, float]:
    """The line of metrics that tells of what was found."""
    return {f"{reader}/{measure}{name}": value for reader, measure, name, value in measures(found)}


def for_result(found: Found, moment: str) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics, and errors by predicted row, under the names that they have in result.json."""
    metrics = {
        f"{reader}_{measure}_{moment}{name}": value for reader, measure, name, value in measures(found)
    }
    horizons = {
        f"{reader}_by_horizon_{moment}{name}": line
        for reader, by_measure in found.items()
        for name, line in by_measure.get("by_horizon", {}).items()
    }
    return metrics, horizons


def draw_prediction(
    config: RunConfig, seen: OpenLoop, folder: Path, reader: str, moment: str
) -> dict[str, Path]:
    """Write prediction as GIF and film strip, named after who decoded it, where pictures are predicted."""
    if seen.frames is None:
        return {}
    gif, png = folder / f"{reader}_{moment}.gif", folder / f"{reader}_{moment}.png"
    height = seen.frames.shape[1] // 3
    write_gif(gif, seen.frames, fps=8)
    first = seen.frames[:, :, :height]  # the first sequence alone, one column a time step
    every = max(1, config.training.open_loop // 12)
    write_png(png, film_strip(first[config.training.context :], every=every))
    return {f"{reader}/{moment}": gif}
