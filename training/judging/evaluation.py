"""Judging an agent: its policy in the environment, its model on held-out sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import torch

from envs import Rows, VectorEnv, environment_info
from training.config import RunConfig
from training.logging.sinks import JUDGED
from world_model import WorldModel, action_factors, action_width, to_env_actions, to_learner_actions
from world_model.decoder import Decoder
from world_model.symbols import negative_log_likelihood

PARALLEL = 8
"""Environments side by side while judging."""
WINDOWS_A_BLOCK = 8
STICKY = "_sticky"
"""Ends the names of what is measured on the held-out sequences of the sticky policy."""
MakeEnvs = Callable[[int], VectorEnv]
"""From a number of environments to as many of them."""
Check = Callable[[], None]
"""Called before each step of what takes long; raises an error to leave it (`StopSignal.check`)."""


def go_on() -> None:
    """Never leave what takes long."""


class Policy(Protocol):
    """Whoever can be judged in the environment: an agent, or a baseline."""

    def initial_state(self, batch: int, seed: int) -> Any:
        """State before the first rows; every sample follows from `seed`."""

    def act(self, rows: Rows, state: Any, mode: Literal["evaluate"]) -> tuple[np.ndarray, Any, Any]:
        """Actions (N, A) as a learner sees them, the next state, and what else there is to say."""


def evaluate_policy(
    agent: Policy, make_envs: MakeEnvs, episodes: int, seed: int, check: Check = go_on
) -> list[dict[str, Any]]:
    """Run the agent's policy, sampled, for a number of episodes.

    Every environment contributes the same number of its first episodes (up to one), so that short episodes
    are not counted more often than long ones.

    Returns:
        Summaries of exactly `episodes` episodes, as `VectorEnv.pop_episodes` gives them.
    """
    width = min(PARALLEL, episodes)
    if width == 0:
        return []
    envs = make_envs(width)
    quota = [episodes // width + (index < episodes % width) for index in range(width)]
    kept: list[dict[str, Any]] = []
    try:
        rows, state = envs.reset(seed), agent.initial_state(width, seed)
        while any(quota):
            check()
            actions, state, _ = agent.act(rows, state, "evaluate")
            rows = envs.step(to_env_actions(actions, envs.action_space))
            for episode in envs.pop_episodes():
                if quota[episode["env"]] > 0:
                    quota[episode["env"]] -= 1
                    kept.append(episode)
    finally:
        envs.close()
    return kept


def summarise_episodes(env_id: str, episodes: list[dict[str, Any]]) -> dict[str, float]:
    """Mean return and length, and the suite's own measures."""
    if not episodes:
        return {}
    means = {name: float(np.mean([e[name] for e in episodes])) for name in ("return", "length")}
    return means | environment_info(env_id).summarise(episodes)


def judgement(summary: Mapping[str, float], config: RunConfig) -> dict[str, float]:
    """The line of metrics that tells of an evaluation of the policy, also where no episode was asked for."""
    told = {**summary, "episodes": config.training.evaluation_episodes}
    return {JUDGED + name: value for name, value in told.items()}


def by_scope(
    summaries: Mapping[str, Mapping[str, float | None]],
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Keep measures of one achievement or task each apart from those of the whole.

    Args:
        summaries: suffix of a moment's names -> what `summarise_episodes` said then; None stands for NaN.

    Returns:
        Measures of the whole (`return`, `return_start`, ...), and `success`, `success_start`, ... -> name of
        the achievement -> share.
    """
    metrics: dict[str, float] = {}
    success: dict[str, dict[str, float]] = {}
    for suffix, summary in summaries.items():
        success[f"success{suffix}"] = single = {}
        for name, value in summary.items():
            number = float("nan") if value is None else value
            if "/" in name:
                single[name.partition("/")[2]] = number
            else:
                metrics[name + suffix] = number
    return metrics, success


def heldout_sets(
    make_envs: MakeEnvs, count: int, length: int, seed: int, repeat: float, check: Check = go_on
) -> dict[str, dict[str, np.ndarray]]:
    """Held-out sequences of two policies that no agent chooses: uniformly random, and sticky random.

    The second repeats its actions. It is the same for every agent, unlike a pre-trained one, so its errors
    compare.

    Returns:
        By the ending of the names of their measures ("", "_sticky") rows as from `heldout_sequences`.
    """
    shares = {"": 0.0} | ({STICKY: repeat} if repeat else {})
    return {
        name: heldout_sequences(make_envs, count, length, seed, share, check)
        for name, share in shares.items()
    }


def heldout_sequences(
    make_envs: MakeEnvs, count: int, length: int, seed: int, repeat: float = 0.0, check: Check = go_on
) -> dict[str, np.ndarray]:
    """Sequences of a random policy that no learner ever trains on.

    Each action is uniformly random, or with probability `repeat` the one before it in the episode: drawn
    actions last 1 / (1 - repeat) steps in the mean.

    Windows follow each other in time without overlap; one that holds the beginning of an episode after its
    first row is passed over, unless episodes are too short to fill a window otherwise.

    Returns:
        Rows (count, length, ...) by the rule of time.
    """
    envs = make_envs(PARALLEL)
    rng = np.random.default_rng(seed)
    windows: list[dict[str, np.ndarray]] = []
    try:
        rows = envs.reset(seed)
        actions = np.zeros((PARALLEL, action_width(envs.action_space)), np.float32)
        for attempt in range(WINDOWS_A_BLOCK * count):
            block, rows, actions = _record(envs, rows, actions, length, rng, repeat, check)
            whole = ~block["is_first"][:, 1:].any(1)
            keep = whole if attempt < 4 * count else np.ones_like(whole)
            windows += [{k: v[i] for k, v in block.items()} for i in np.flatnonzero(keep)]
            if len(windows) >= count:
                break
    finally:
        envs.close()
    return {key: np.stack([w[key] for w in windows[:count]]) for key in windows[0]}


def _record(
    envs: Any,
    rows: dict[str, np.ndarray],
    actions: np.ndarray,
    length: int,
    rng: np.random.Generator,
    repeat: float,
    check: Check,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Record `length` rows of every environment under (repeated) random actions, (N, length, ...)."""
    held: list[dict[str, np.ndarray]] = []
    for _ in range(length):
        check()
        held.append({**rows, "action": actions * ~rows["is_first"][:, None]})
        drawn = random_actions(envs.action_space, len(actions), rng)
        if repeat:  # but there is none to repeat at an episode's beginning
            kept = (rng.random(len(actions)) < repeat) & ~rows["is_first"]
            drawn = np.where(kept[:, None], actions, drawn)
        actions = drawn
        rows = envs.step(to_env_actions(actions, envs.action_space))
    envs.pop_episodes()
    return {key: np.stack([row[key] for row in held], 1) for key in held[0]}, rows, actions


def random_actions(space: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform actions (N, A) as the learner sees them."""
    factors = action_factors(space)
    if factors:  # drawn one by one: with an array of bounds the generator draws other numbers
        return to_learner_actions(np.stack([rng.integers(n, size=count) for n in factors], -1), space)
    return rng.uniform(-1, 1, (count, action_width(space))).astype(np.float32)


Draw = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From one observation, entries by name, to a uint8 picture (h, w, 3)."""


@dataclasses.dataclass(frozen=True)
class OpenLoop:
    """How well a model predicts held-out sequences from actions alone.

    Attributes:
        error: mean squared error over all predicted rows: per pixel in [0, 1] for images, per symlog value
            for vectors, per probability for symbols (Brier 1950, over the values); averaged over the entries.
        by_horizon: the same for each predicted row, nearest first.
        symbols: of symbols, `accuracy` (share whose most likely value is right) and `nats` (negative
            log-likelihood of one), averaged over the entries; empty where there are none.
        frames: uint8 (T, 3 h, n w, 3): truth, prediction, and their absolute difference, side by side for the
            sequences in which most changes; None for what cannot be drawn.
    """

    error: float
    by_horizon: list[float]
    symbols: dict[str, float]
    frames: np.ndarray | None


@torch.no_grad()
def open_loop(
    model: WorldModel,
    decoder: Decoder,
    heldout: dict[str, np.ndarray],
    context: int,
    seed: int,
    show: int = 4,
    draw: Draw | None = None,
) -> OpenLoop:
    """Let the model watch `context` rows of each held-out sequence and predict the others.

    What it predicts is made visible by a decoder: its own, or a probe of its latents.
    """
    device = next(model.parameters()).device
    rows = {key: torch.as_tensor(value, device=device) for key, value in heldout.items()}
    generator = torch.Generator(device).manual_seed(seed)
    predictions = decoder(model.open_loop(rows, context, generator))
    hidden = {key: rows[key][:, context:] for key in predictions}
    errors, rights, nats = [], [], []
    for key, prediction in predictions.items():
        predicted, truth = prediction[:, context:], hidden[key]
        error = decoder.difference(key, predicted, hidden)
        if key in decoder.symbols:
            rights.append((predicted.argmax(-1) == truth).float().mean())
            nats.append(negative_log_likelihood(predicted, truth).mean())
        errors.append(error.square().flatten(2).mean((0, 2)))
    by_horizon = torch.stack(errors).mean(0)
    symbols = {"accuracy": rights, "nats": nats} if rights else {}
    return OpenLoop(
        float(by_horizon.mean()),
        [float(x) for x in by_horizon],
        {name: float(torch.stack(values).mean()) for name, values in symbols.items()},
        _film(decoder, rows, predictions, show, draw),
    )


def _film(
    decoder: Decoder,
    rows: Mapping[str, torch.Tensor],
    predictions: Mapping[str, torch.Tensor],
    show: int,
    draw: Draw | None,
) -> np.ndarray | None:
    """Frames of the first image, or of what else can be drawn."""
    truth = {key: rows[key] for key in predictions}
    shown = _liveliest(truth)[:show]
    for key in decoder.images:
        return _frames(decoder.target(key, truth[key][shown]), predictions[key][shown])
    if draw is None:
        return None
    most_likely = {key: decoder.observed(key, value[shown]) for key, value in predictions.items()}
    return _frames(
        _drawn({key: value[shown] for key, value in truth.items()}, draw), _drawn(most_likely, draw)
    )


def _liveliest(observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Sequences (B,) by how much of what is observed differs from row to row, the most first."""
    changes = [(x[:, 1:] != x[:, :-1]).flatten(1).float().mean(1) for x in observations.values()]
    return torch.stack(changes).mean(0).argsort(descending=True, stable=True)


def _drawn(observations: Mapping[str, torch.Tensor], draw: Draw) -> torch.Tensor:
    """Entries (n, T, ...) by key -> pictures (n, T, h, w, 3) in [0, 1]."""
    arrays = {key: value.cpu().numpy() for key, value in observations.items()}
    count, length = next(iter(arrays.values())).shape[:2]
    pictures = [
        [draw({key: value[i, t] for key, value in arrays.items()}) for t in range(length)]
        for i in range(count)
    ]
    return torch.from_numpy(np.array(pictures)).float() / 255


def _frames(truth: torch.Tensor, predicted: torch.Tensor) -> np.ndarray:
    """(n, T, h, w, c) twice -> uint8 (T, 3 h, n w, 3)."""
    stacked = torch.cat([truth, predicted, (predicted - truth).abs()], 2)  # (n, T, 3 h, w, c)
    row = torch.cat(list(stacked), 2)  # (T, 3 h, n w, c)
    pixels = (row.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, -1)
