"""Widths of the world model, by DreamerV3's rule, and the model's other settings."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from expedition.errors import UserError, unknown_name
from expedition.ranges import within

ConvStyle = Literal["pooled", "strided"]
ObjectsKind = Literal["graph", "plain"]
Predicts = Literal["reconstruction", "spr", "contrastive", "barlow", "none"]


def check_predicts(name: str) -> None:
    """Refuse a kind of prediction that nobody knows; `module:Class` is one of the user's.

    Raises:
        UserError: with the nearest known names.
    """
    if ":" not in name and name not in get_args(Predicts):
        raise unknown_name("kind of prediction", name, get_args(Predicts))


LOSS_SETTINGS = (
    "free_nats",
    "scale_dynamics",
    "scale_representation",
    "scale_reward",
    "horizon",
    "predicts",
    "prediction",
)
"""Settings that say how a world model goes on learning; the others decide which weights fit and what they
mean."""


@dataclasses.dataclass(frozen=True)
class PredictionConfig:
    """Settings of what stands where a decoder stood; only those of the chosen kind are read."""

    steps: int = 5
    """Rows K that `spr` and `contrastive` predict ahead (Schwarzer et al. 2021; Anand et al. 2022, arXiv
    2111.01587)."""
    stride: int = 2
    """They predict ahead from every so many rows of a sequence, where those papers begin at one of each: at
    size tiny 1 costs 0.4 of an update more, and 2 a quarter (docs/performance.md)."""
    decay: float = 0.99
    """Of their target's weights towards the learned ones, by update (Schwarzer et al. 2021, without
    augmentation)."""
    temperature: float = 0.1
    """Divides the similarities that `contrastive` compares (Chen et al. 2020, arXiv 2002.05709)."""
    redundancy: float = 5e-4
    """Weight lambda of the correlations off the diagonal in `barlow` (Morihira et al. 2026; Zbontar et al.
    2021 have 5e-3 for pictures)."""

    def __post_init__(self) -> None:
        within(self, "agent.model.prediction", "steps stride", least=1)
        within(self, "agent.model.prediction", "decay", least=0, most=1)
        within(self, "agent.model.prediction", "temperature", above=0)
        within(self, "agent.model.prediction", "redundancy", least=0)


@dataclasses.dataclass(frozen=True)
class ObjectsConfig:
    """How observations that are sets of objects are read and predicted; nothing else reads these settings."""

    kind: ObjectsKind = "graph"
    """graph: messages between all pairs, weights for any number of objects; plain: rows flattened for an MLP,
    weights for one number of them."""
    messages: int = 2
    """Rounds of messages."""
    units: int = 64
    """Width of nodes and edges."""
    numbered: bool = True
    """Let an object of a graph know the number of its row, by which it is predicted and pointed at. Without
    it the embedding is the same in any order of the rows, and cannot tell what stands in which."""

    def __post_init__(self) -> None:
        within(self, "agent.model.objects", "messages", least=0)
        within(self, "agent.model.objects", "units", least=1)
        if self.kind not in get_args(ObjectsKind):
            raise unknown_name("way to read objects", self.kind, get_args(ObjectsKind))


@dataclasses.dataclass(frozen=True)
class WorldModelConfig:
    """Settings of a world model; `for_size` gives those of a named size.

    Defaults follow DreamerV3 (Hafner et al., arXiv 2301.04104v2, 2024), table of hyperparameters.
    """

    deter: int = 2048
    """Width of the deterministic (recurrent) state."""
    hidden: int = 256
    """Width of the hidden layers inside the recurrent core, the prior and the posterior."""
    stoch: int = 32
    """Number of categorical variables in the stochastic state."""
    classes: int = 16
    """Classes of each categorical variable."""
    blocks: int = 8
    """Diagonal blocks of the recurrent core; must divide `deter`."""
    units: int = 256
    """Width of encoder, decoder and head MLPs."""
    depth: int = 16
    """Base channels of the convolutions, times (2, 3, 4, 4) stage by stage; `strided`: (1, 2, 4, 8)."""
    conv: ConvStyle = "pooled"
    """Convolutions: `pooled` (5x5 and max-pooling, DreamerV3's code of 2024) or `strided` (4x4 of stride 2,
    its code of 2023)."""
    vector_layers: int = 3
    """Layers of the vector encoder and decoder."""
    unimix: float = 0.01
    """Share of a uniform distribution mixed into every categorical."""
    free_nats: float = 1.0
    """KL below this many nats per state costs nothing."""
    scale_dynamics: float = 1.0
    """Weight of the KL that trains the prior."""
    scale_representation: float = 0.1
    """Weight of the KL that trains the posterior."""
    scale_reward: float = 1.0
    """Weight of the reward's loss. Rewards are rare and their nats few beside an observation's: at 1 a model
    of few updates does not see what pays (docs/performance.md; Ma et al. 2024, arXiv 2310.00344)."""
    horizon: int = 333
    """Effective discount horizon in steps: the discount is 1 - 1 / horizon."""
    predicts: Predicts | str = "reconstruction"
    """What shapes the latents: reconstruction (a decoder), spr (its own embeddings some rows ahead, in
    direction), contrastive (those among others), barlow (the embedding, without redundancy), none (reward,
    value and end alone), or a class of your own, module:Class."""
    prediction: PredictionConfig = PredictionConfig()
    objects: ObjectsConfig = ObjectsConfig()

    def __post_init__(self) -> None:
        within(self, "agent.model", "deter hidden stoch classes blocks units depth vector_layers", least=1)
        within(self, "agent.model", "free_nats scale_dynamics scale_representation scale_reward", least=0)
        within(self, "agent.model", "unimix", least=0, below=1)
        within(self, "agent.model", "horizon", least=1)
        if self.deter % self.blocks:
            raise UserError(f"The state width {self.deter} is not a multiple of its {self.blocks} blocks.")
        if self.conv not in ("pooled", "strided"):
            raise unknown_name("convolution style", self.conv, ["pooled", "strided"])
        check_predicts(self.predicts)

    @property
    def features(self) -> int:
        """Width F of the flattened latent, `deter + stoch * classes`."""
        return self.deter + self.stoch * self.classes

    @property
    def discount(self) -> float:
        """Discount of one step."""
        return 1 - 1 / self.horizon


def _ruled(hidden: int) -> WorldModelConfig:
    """DreamerV3's rule: deter = 8 * hidden; classes = depth = hidden / 16; units = hidden."""
    return WorldModelConfig(
        deter=8 * hidden, hidden=hidden, classes=hidden // 16, units=hidden, depth=hidden // 16
    )


SIZES: dict[str, WorldModelConfig] = {
    # Ours, for two laptop cores: the quickstart, the tests and the learn-check.
    "tiny": WorldModelConfig(
        deter=256, hidden=96, stoch=16, classes=8, units=96, depth=6, vector_layers=2, conv="strided"
    ),
    # DreamerV3's 1m keeps a wider state than the rule gives.
    "1m": WorldModelConfig(deter=512, hidden=64, classes=4, units=64, depth=4),
    "12m": _ruled(256),
    "25m": _ruled(384),
    "50m": _ruled(512),
    "100m": _ruled(768),
    "200m": _ruled(1024),
}


def for_size(name: str, **overrides: object) -> WorldModelConfig:
    """Return the settings of a named size, with fields overridden.

    Raises:
        UserError: the size is not known.
    """
    if name not in SIZES:
        raise unknown_name("size", name, SIZES)
    return dataclasses.replace(SIZES[name], **overrides)  # type: ignore[arg-type]
