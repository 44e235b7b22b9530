"""What goes wrong inside an environment: one sentence that says where, beside its author's own traceback."""

import logging
import traceback
from typing import Any

import numpy as np

from expedition import UserError

logger = logging.getLogger(__name__)

LARGEST = float(np.finfo(np.float32).max)
"""Rewards are stored as float32."""
_OURS = ("adapter", "captions", "failures", "fit", "limit", "registry", "stepping")
_PASSED_THROUGH = (*(f"envs.{name}." for name in _OURS), "gymnasium.", "importlib.")
_STEP = "return observation, reward, terminated, truncated and info from step, as gymnasium.Env does"
_RESET = (
    "write reset(self, *, seed=None, options=None) and return observation and info, as gymnasium.Env does"
)


class Misfit(UserError):
    """Something that an environment gave is not what it promised."""


class EnvironmentFailed(UserError):
    """An environment raised an error, or broke a promise.

    Attributes:
        raised: whether an error of its own came; else it gave what does not fit.
        rows: the rows of the step in which it failed, with its episode cut off, from which the others can
            go on; None where there are none.
    """

    def __init__(self, message: str, raised: bool) -> None:
        super().__init__(message)
        self.raised = raised
        self.rows: dict[str, np.ndarray] | None = None


def is_told(error: Exception) -> bool:
    """Say whether an error is a whole sentence already."""
    return isinstance(error, UserError) and not isinstance(error, Misfit)


def explain(error: Exception, where: str) -> EnvironmentFailed:
    """Return the sentence for an error that came out of `reset` or `step`, and log its author's traceback.

    Args:
        error: what came.
        where: environment, episode and step, in words.
    """
    if isinstance(error, Misfit):
        return EnvironmentFailed(f"{where}: {error}", raised=False)
    told = own_traceback(error)
    old = None if told else _old_interface(error)
    if old is not None:
        return EnvironmentFailed(f"{where}: {old}.", raised=False)
    logger.error("%s failed:\n%s", where, told or in_words(error))
    return EnvironmentFailed(
        f"{where}: it raised {in_words(error)}; mend it and run the same command again, which goes on from "
        "what was saved.",
        raised=True,
    )


def in_words(error: Exception) -> str:
    """Return an error's kind and message on one line."""
    words = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def own_traceback(error: BaseException) -> str:
    """Return the traceback from the author's first line on; empty if no line of theirs is in it."""
    at = error.__traceback__
    while at is not None and f"{at.tb_frame.f_globals.get('__name__')}.".startswith(_PASSED_THROUGH):
        at = at.tb_next
    return "" if at is None else "".join(traceback.format_exception(type(error), error, at)).rstrip()


def _old_interface(error: Exception) -> str | None:
    """Recognise gym's old step and reset where a wrapper stumbles over them."""
    if isinstance(error, ValueError) and "expected 5, got 4" in str(error):
        return _old("step returns four values", _STEP)
    missing = ("unexpected keyword argument 'seed'", "unexpected keyword argument 'options'")
    if isinstance(error, TypeError) and any(words in str(error) for words in missing):
        return _old("reset takes no seed or no options", _RESET)
    return None


def _old(sign: str, mend: str) -> str:
    return f"it speaks gym's old interface ({sign}); {mend}"


def reset_result(result: Any) -> tuple[Any, dict[str, Any]]:
    """Return observation and info of a reset.

    Raises:
        Misfit: they are not two.
    """
    if isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[1], dict):
        return result[0], result[1]
    raise Misfit(_old("reset returns the observation alone", _RESET) + ".")


def step_result(result: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """Return observation, reward, terminated, truncated and info of a step.

    Raises:
        Misfit: they are not five.
    """
    if type(result) is tuple and len(result) == 5 and type(result[4]) is dict:  # the usual one, fast
        return result
    if isinstance(result, tuple | list) and len(result) == 5 and isinstance(result[4], dict):
        return result  # type: ignore[return-value]
    if isinstance(result, tuple) and len(result) == 4:
        raise Misfit(_old("step returns four values", _STEP) + ".")
    raise Misfit(f"step returns something else than five values with a dict as the last; {_STEP}.")


def number(reward: Any, name: str = "the reward") -> float:
    """Return a reward as a number: a scalar, or an array or tensor that holds one in the shape () or (1,).

    Raises:
        Misfit: it is something else, or not finite in float32.
    """
    if type(reward) is float and -LARGEST <= reward <= LARGEST:  # the usual one, fast
        return reward
    try:
        shape = () if isinstance(reward, float | int) else tuple(np.shape(reward))
        if shape not in ((), (1,)):
            raise Misfit(f"{name} has the shape {shape}; return one number.")
        value = float(reward if shape == () else reward[0])
    except (TypeError, ValueError, RuntimeError):
        raise Misfit(f"{name} is a {type(reward).__name__}; return a number.") from None
    if not -LARGEST <= value <= LARGEST:  # nan fails both
        raise Misfit(f"{name} is {value}; return a finite number.")
    return value
