"""Measures of a learning curve: its area, and when it gets somewhere."""

import numpy as np


def smooth(steps: np.ndarray, values: np.ndarray, grid: np.ndarray, width: float = 0.1) -> np.ndarray:
    """Return the kernel-weighted mean of episodes around each step of a grid.

    Args:
        steps: when each episode ended, (n,).
        values: the episodes' returns, (n,).
        grid: where to evaluate, (g,).
        width: the Gaussian's standard deviation, as a share of the range of steps.
    """
    scale = max(width * float(np.ptp(steps)), 1e-9)
    # (g, n); the largest exponent is brought to 0, so that no row of weights vanishes.
    power = -0.5 * ((grid[:, None] - steps) / scale) ** 2
    weights = np.exp(power - power.max(axis=1, keepdims=True))
    return (weights @ values) / weights.sum(axis=1)


def area(steps: np.ndarray, values: np.ndarray, end: float) -> float:
    """Return the area under a learning curve divided by its steps: the mean return over all steps.

    The curve is a staircase: at each step it has the return of the next episode to end (the mean of those
    that end at the same step); after the last one it keeps the last one's.

    Args:
        steps: when each episode ended, in rising order, (n,), n at least 1.
        values: the episodes' returns, (n,).
        end: environment steps of the run.
    """
    ends, which = np.unique(steps, return_inverse=True)
    heights = np.bincount(which, weights=values) / np.bincount(which)
    widths = np.diff(ends, prepend=0.0)
    widths[-1] += max(0.0, end - ends[-1])
    return float(widths @ heights / widths.sum())


def smoothed(steps: np.ndarray, values: np.ndarray, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the smoothed curve from the first episode's end to the run's: steps (401,) and returns (401,).

    Args:
        steps: when each episode ended, in rising order, (n,), n at least 1.
        values: the episodes' returns, (n,).
        end: environment steps of the run.
    """
    grid = np.linspace(steps[0], max(end, steps[-1]), 401)
    return grid, smooth(steps, values, grid)


def first_passage(curve: tuple[np.ndarray, np.ndarray], target: float) -> float | None:
    """Return the first step at which a smoothed curve is at least at the target; None if it never is."""
    reached = curve[1] >= target
    return float(curve[0][reached.argmax()]) if reached.any() else None
