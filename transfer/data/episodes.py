"""Between Minari's episodes, whose steps hold what an action did, and our rows, with what led to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from agents.base import LOG_PROB
from envs import TASK
from expedition import UserError
from world_model import to_env_actions, to_learner_actions

REWARD = TASK + "reward"
"""What an episode's rewards are called in a row."""
Encode = Callable[[Any], dict[str, np.ndarray]]


def episode_rows(
    episode: Any,
    encode: Encode,
    acts: spaces.Space[Any],
    shrink: Callable[[np.ndarray], np.ndarray],
    where: str,
) -> dict[str, np.ndarray]:
    """Return the T + 1 rows of an episode of T steps.

    Row 0 is the reset; row t has observation t, and action, reward and ending of step t - 1, which led to it.
    What infos hold of a row under a name of ours (`task/...`, `behaviour/log_prob`) is taken along.

    Args:
        episode: Minari's `EpisodeData`.
        encode: from one observation of the dataset to entries by name.
        acts: the space of actions as a learner sees it.
        shrink: from the dataset's actions (T, ...) to those of `acts`.
        where: how messages call the episode.

    Raises:
        UserError: its parts do not fit together, or its spaces.
    """
    rewards = np.asarray(episode.rewards, np.float32).reshape(-1)
    steps = len(rewards)
    try:
        seen = [encode(_at(episode.observations, t)) for t in range(steps + 1)]
        action = to_learner_actions(shrink(np.asarray(episode.actions)), acts)
    except UserError as error:
        raise UserError(f"{where} does not fit its spaces: {error}") from error
    except (IndexError, ValueError, TypeError) as error:
        raise UserError(f"{where} does not fit its spaces ({error}): write the dataset again.") from error
    ends = np.asarray(episode.terminations, bool).reshape(-1)
    cuts = np.asarray(episode.truncations, bool).reshape(-1)
    if {len(action), len(ends), len(cuts)} != {steps}:
        raise UserError(f"{where} has not as many actions and endings as rewards: write the dataset again.")
    rows = {name: np.stack([row[name] for row in seen]) for name in seen[0]}
    _check_finite({**rows, "action": action}, where)
    rows |= {"action": _led(action), REWARD: _led(rewards)}
    rows |= {"is_first": np.arange(steps + 1) == 0, "is_terminal": _led(ends), "is_last": _led(ends | cuts)}
    return rows | _recorded(episode.infos or {}, steps + 1)


def _at(tree: Any, t: int) -> Any:
    """Observation t of a whole episode's, which may be dictionaries or tuples of arrays."""
    if isinstance(tree, Mapping):
        return {name: _at(part, t) for name, part in tree.items()}
    return tuple(_at(part, t) for part in tree) if isinstance(tree, tuple) else tree[t]


def _led(of_steps: np.ndarray) -> np.ndarray:
    """What steps (T, ...) did, in the rows (T + 1, ...) to which they led; nothing led to the first."""
    return np.concatenate([np.zeros_like(of_steps, shape=(1, *of_steps.shape[1:])), of_steps])


def _check_finite(rows: Mapping[str, np.ndarray], where: str) -> None:
    for name, values in rows.items():
        if values.dtype == np.float32 and not np.isfinite(values).all():
            raise UserError(f"{where} has numbers in '{name}' that are not finite: leave such episodes out.")


def _recorded(infos: Mapping[str, Any], rows: int, prefix: str = "") -> dict[str, np.ndarray]:
    """What infos hold of every row under names that rows have for it."""
    found: dict[str, np.ndarray] = {}
    for key, value in infos.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _recorded(value, rows, f"{name}/")
        elif (name.startswith(TASK) or name == LOG_PROB) and name != REWARD and np.shape(value) == (rows,):
            found[name] = np.asarray(value, np.float32)
    return found


def split_episodes(pieces: Iterable[dict[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Cut the rows of one environment, which come piece by piece, before every first row of an episode."""
    waiting: list[dict[str, np.ndarray]] = []
    for rows in pieces:
        firsts = np.flatnonzero(rows["is_first"])
        bounds = [0, *firsts[firsts > 0].tolist(), len(rows["is_first"])]
        for start, end in zip(bounds, bounds[1:], strict=False):
            part = {name: values[start:end] for name, values in rows.items()}
            if part["is_first"][0] and waiting:
                yield _joined(waiting)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def episode_parts(
    rows: Mapping[str, np.ndarray], observed: Iterable[str], acts: spaces.Space[Any]
) -> dict[str, Any]:
    """Return the parts of Minari's `EpisodeBuffer` for the T + 1 rows of an episode, or of a piece of one.

    An end that was not lived to (the run stopped, or the environment failed) is told as a truncation, so
    that whoever reads it bootstraps there. What else a row holds of the tasks and of the acting policy stands
    in infos.

    Args:
        rows: (T + 1, ...) by name, T at least 1.
        observed: names of the observation's entries.
        acts: the space of actions as the environment takes them.
    """
    ends = rows["is_terminal"][1:]
    cuts = rows["is_last"][1:] & ~ends
    cuts[-1] = ~ends[-1]
    told = {n: v for n, v in rows.items() if (n.startswith(TASK) and n != REWARD) or n == LOG_PROB}
    return {
        "observations": nested({name: rows[name] for name in observed}),
        "actions": to_env_actions(rows["action"][1:], acts),
        "rewards": rows[REWARD][1:],
        "terminations": ends,
        "truncations": cuts,
        "infos": nested(told) or None,
    }


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Entries named `a/b` within one named `a`: a file of Minari's reads a slash so."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split("/")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return tree
