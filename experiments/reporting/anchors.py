"""Published results to print beside our own, always marked as published."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Anchor:
    """One published result on Crafter.

    Attributes:
        agent: what acted.
        score: the Crafter score in percent.
        episode_return: the mean return of an episode; None where it isn't given.
        budget: the environment steps it had; `free` are reward-free ones.
        source: the paper that names the agent or the number.
        arxiv: that paper's number on arXiv.
    """

    agent: str
    score: float
    episode_return: float | None
    budget: str
    source: str
    arxiv: str


_BENCHMARK = ("Hafner 2021", "2109.06780")
_DREAMER = ("Hafner et al. 2023", "2301.04104")
_TRANSFER = ("Walker et al. 2023", "2302.04009")
_DISTILLATION = ("Moon et al. 2023", "2307.03486")
_EMERALD = ("Burchi & Timofte 2025", "2507.04075")

CRAFTER_ANCHORS: tuple[Anchor, ...] = (
    Anchor("random policy", 1.6, 2.1, "-", *_BENCHMARK),
    Anchor("RND, no reward", 2.0, 0.7, "1M free", *_BENCHMARK),
    Anchor("Plan2Explore, no reward", 2.1, 2.1, "1M free", *_BENCHMARK),
    Anchor("MuZero+SPR", 4.4, 8.5, "1M", *_TRANSFER),
    Anchor("PPO (Stable-Baselines3)", 4.6, 4.2, "1M", *_BENCHMARK),
    Anchor("DreamerV2", 10.0, 9.0, "1M", *_BENCHMARK),
    Anchor("DreamerV3", 14.5, 11.7, "1M", *_DREAMER),
    Anchor("PPO-ResNet, tuned", 15.6, 10.3, "1M", *_DISTILLATION),
    Anchor("MuZero+SPR after RND", 16.4, 12.7, "150M free + 1M", *_TRANSFER),
    Anchor("Achievement Distillation", 21.8, 12.6, "1M", *_DISTILLATION),
    Anchor("human experts", 50.5, 14.3, "-", *_BENCHMARK),
    Anchor("EMERALD", 58.1, None, "10M", *_EMERALD),
)


def anchors_for(environment: str) -> tuple[Anchor, ...]:
    """Return the published results on an environment, worst score first; none where we know of none."""
    return CRAFTER_ANCHORS if "crafter" in environment.lower() else ()
