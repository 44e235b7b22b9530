"""What the carried model and the carried policy were worth: the contrasts of the 2x2 factorial."""

from collections.abc import Mapping

from transfer.statistics import Estimate, estimate, paired_contrast

# Contribution -> condition -> weight. The factorial crosses "model carried?" with "policy carried?".
CONTRASTS: dict[str, dict[str, float]] = {
    "model alone": {"model": 1, "scratch": -1},
    "policy alone": {"policy": 1, "scratch": -1},
    "model given policy": {"model+policy": 1, "policy": -1},
    "policy given model": {"model+policy": 1, "model": -1},
    "both": {"model+policy": 1, "scratch": -1},
    "interaction": {"model+policy": 1, "model": -1, "policy": -1, "scratch": 1},
}


def paired_contributions(results: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Return each contribution for each seed that all its conditions have; one without a seed is left out.

    Args:
        results: condition -> seed -> value.
    """
    pairs = {name: paired_contrast(results, weights) for name, weights in CONTRASTS.items()}
    return {name: by_seed for name, by_seed in pairs.items() if by_seed}


def contributions(
    results: Mapping[str, Mapping[int, float]], confidence: float = 0.95
) -> dict[str, Estimate]:
    """Estimate what each part was worth, as differences between conditions paired by seed.

    A contribution is always a difference of values: where lower is better (errors), a negative one is a gain.
    It rests on the seeds that every condition involved has (`n` says how many). Where conditions lack seeds,
    the means of different contributions rest on different seeds and needn't add up; over complete results
    `model alone + policy given model = policy alone + model given policy = both`.

    Args:
        results: condition -> seed -> value; conditions outside the factorial are ignored.
        confidence: the level of the intervals.

    Returns:
        Contribution -> estimate, in the order of `CONTRASTS`; one with a condition missing is left out.

    Raises:
        ValueError: a value isn't finite.
    """
    return {
        name: estimate(by_seed.values(), confidence)
        for name, by_seed in paired_contributions(results).items()
    }
