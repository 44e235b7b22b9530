"""Does an environment keep the promises that learning relies on? `expedition check-env ID`."""

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from envs.failures import EnvironmentFailed
from envs.registry import environment_info, make
from envs.stepping.lane import Rows
from envs.stepping.vector import SerialVectorEnv, VectorEnv
from envs.stepping.workers import WorkerVectorEnv
from expedition import UserError

PAIR = 2
"""Environments side by side in most checks."""


@dataclass(frozen=True)
class Finding:
    """What one check found; `passed` is None where nothing was promised or nothing could be seen."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class _Trial:
    """What every check is given: the environment, and a recording of random play to compare with."""

    env_id: str
    image_size: int
    seed: int
    actions: list[np.ndarray]
    rows: list[Rows]
    episodes: list[dict[str, Any]]
    seconds: float
    reset_seconds: float

    def serial(self) -> SerialVectorEnv:
        return SerialVectorEnv(self.env_id, PAIR, image_size=self.image_size)


def check(
    env_id: str, *, steps: int = 300, seconds: float = 10.0, seed: int = 0, image_size: int = 64
) -> Iterator[Finding]:
    """Check one environment, yielding findings as they come.

    Args:
        env_id: see `make`.
        steps: random steps of each check, of two environments at a time.
        seconds: wall time after which the first recording ends; the other checks make as many steps.
        seed: of episodes and actions, 0 or more.
        image_size: height and width of pictures, in pixels.

    Raises:
        UserError: unknown id, missing package, spaces that cannot be brought to shape, or no steps.
    """
    if steps < 1:
        raise UserError(f"The number of steps must be at least 1, not {steps}.")
    info = environment_info(env_id)
    make(env_id, image_size=image_size).close()  # what a person must mend is told as it is
    yield _attempt("gymnasium's checker", lambda: _gymnasium(env_id, image_size))
    before = _global_generators()
    try:
        trial = _record(env_id, image_size, seed, steps, seconds)
    except EnvironmentFailed as failure:
        yield Finding("random play" if failure.raised else "spaces and dtypes", False, str(failure))
        return
    yield Finding("random play", True, f"{len(trial.actions) * PAIR} steps, {len(trial.episodes)} episodes")
    touched = before != _global_generators()
    yield Finding("global generators", not touched, "drawn from" if touched else "left alone")
    for name, test in _CHECKS:
        if name in _PROMISED and not info.snapshot:
            yield Finding(name, None, "not promised")
        else:
            yield _attempt(name, lambda test=test: test(trial))  # type: ignore[misc]


def _attempt(name: str, test: Callable[[], tuple[bool | None, str]]) -> Finding:
    try:
        return Finding(name, *test())
    except Exception as error:  # noqa: BLE001  # whatever a user's class raises is the finding
        words = " ".join(str(error).split())
        return Finding(name, False, f"{type(error).__name__}: {words[:300]}")


def _gymnasium(env_id: str, image_size: int) -> tuple[bool, str]:
    env = make(env_id, image_size=image_size)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_env(env, skip_render_check=True)
    finally:
        env.close()
    return True, f"passed, {len(caught)} warnings" if caught else "passed"


def _global_generators() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    return state[1].tobytes(), state[2:], random.getstate()


def _record(env_id: str, image_size: int, seed: int, steps: int, seconds: float) -> _Trial:
    vector = SerialVectorEnv(env_id, PAIR, image_size=image_size)
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    try:
        rows = [vector.reset(seed)]
        actions: list[np.ndarray] = []
        reset_seconds = (time.perf_counter() - began) / PAIR
        began = time.perf_counter()
        while len(actions) < steps and (len(actions) < 8 or time.perf_counter() - began < seconds):
            actions.append(_random_actions(vector.action_space, rng))
            rows.append(vector.step(actions[-1]))
        spent = time.perf_counter() - began
        return _Trial(env_id, image_size, seed, actions, rows, vector.pop_episodes(), spent, reset_seconds)
    finally:
        vector.close()


def _random_actions(space: spaces.Space[Any], rng: np.random.Generator) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.n, size=PAIR)
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(space.nvec, size=(PAIR, *space.shape))
    assert isinstance(space, spaces.Box)
    return rng.uniform(-1, 1, (PAIR, *space.shape)).astype(np.float32)


def _shapes(trial: _Trial) -> tuple[bool, str]:
    """Every observation lies in its space; what else a row promises was looked at as it came."""
    vector = trial.serial()
    space, other = vector.observation_space, vector.task_rewards
    vector.close()
    for t, row in enumerate(trial.rows):
        for i in range(PAIR):
            outside = [key for key, box in space.items() if not box.contains(row[key][i])]
            if outside:
                return False, f"row {t}: '{outside[0]}' lies outside its box"
    told = ", ".join(f"{key} {box.dtype} {box.shape}" for key, box in space.items())
    return True, told + (f"; rewards of {len(other)} tasks" if other else "")


def _alignment(trial: _Trial) -> tuple[bool, str]:
    """Rows follow the one rule of time."""
    if not trial.rows[0]["is_first"].all():
        return False, "row 0 is not the first of an episode"
    for t, (row, after) in enumerate(zip(trial.rows, trial.rows[1:], strict=False)):
        if not np.array_equal(row["is_last"], after["is_first"]):
            return False, f"row {t + 1} does not begin an episode where row {t} ends one"
        if (row["is_terminal"] & ~row["is_last"]).any() or row["reward"][row["is_first"]].any():
            return False, f"row {t} is terminal but not last, or pays before an action"
    return True, "first, last and terminal rows in order"


def _endings(trial: _Trial) -> tuple[bool | None, str]:
    """Count what ended how; an environment that never ends within the trial can't be judged."""
    terminal = sum(episode["terminal"] for episode in trial.episodes)
    told = f"{terminal} terminal, {len(trial.episodes) - terminal} cut off"
    return (True if trial.episodes else None), told


def _repeats(trial: _Trial) -> tuple[bool, str]:
    vector = trial.serial()
    try:
        first = _same(trial, _play(vector, trial))
        vector.reset(trial.seed + 1)
        again = _same(trial, _play(vector, trial))
    finally:
        vector.close()
    if first is not None:
        return False, f"another object differs at row {first}"
    return again is None, "equal" if again is None else f"a used object differs at row {again}"


def _processes(trial: _Trial) -> tuple[bool, str]:
    vector = WorkerVectorEnv(trial.env_id, PAIR, PAIR, image_size=trial.image_size)
    try:
        differs = _same(trial, _play(vector, trial))
    finally:
        vector.close()
    return differs is None, "equal" if differs is None else f"another process differs at row {differs}"


def _snapshot(trial: _Trial) -> tuple[bool, str]:
    half = len(trial.actions) // 2
    vector, other = trial.serial(), trial.serial()
    try:
        _play(vector, trial, half)
        other.load_state_dict(vector.state_dict())
        for t in range(half, len(trial.actions)):
            row, expected = other.step(trial.actions[t]), trial.rows[t + 1]
            if not all(np.array_equal(row[key], expected[key]) for key in expected):
                return False, f"differs {t - half + 1} steps after the restore"
    finally:
        vector.close()
        other.close()
    return True, f"equal for {len(trial.actions) - half} steps after the restore"


def _videos(trial: _Trial) -> tuple[bool | None, str]:
    vector = trial.serial()
    try:
        vector.reset(trial.seed)
        shape = vector.render(0).shape
        differs = _same(trial, _play(vector, trial, film=True))
    except UserError as error:
        return None, str(error)
    finally:
        vector.close()
    return differs is None, f"pictures {shape}" if differs is None else f"filming changes row {differs}"


def _speed(trial: _Trial) -> tuple[bool, str]:
    rate = len(trial.actions) * PAIR / trial.seconds
    return (
        True,
        f"{rate:,.0f} steps/s in one process, resets included; first reset {trial.reset_seconds:.3f} s",
    )


def _play(vector: VectorEnv, trial: _Trial, steps: int | None = None, film: bool = False) -> list[Rows]:
    rows = [vector.reset(trial.seed)]
    for actions in trial.actions[:steps]:
        if film:
            vector.render(0)
        rows.append(vector.step(actions))
    return rows


def _same(trial: _Trial, rows: Sequence[Rows]) -> int | None:
    """Return the first row that differs from the recording, if any."""
    for t, (row, expected) in enumerate(zip(rows, trial.rows, strict=False)):
        if not all(np.array_equal(row[key], expected[key]) for key in expected):
            return t
    return None


_CHECKS: tuple[tuple[str, Callable[[_Trial], tuple[bool | None, str]]], ...] = (
    ("spaces and dtypes", _shapes),
    ("row alignment", _alignment),
    ("endings", _endings),
    ("repeats under a seed", _repeats),
    ("the same in a process", _processes),
    ("snapshot and restore", _snapshot),
    ("videos change nothing", _videos),
    ("speed", _speed),
)
_PROMISED = {"repeats under a seed", "the same in a process", "snapshot and restore", "videos change nothing"}
