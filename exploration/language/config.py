"""Settings of the reward `language`."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from expedition.errors import UserError, unknown_name
from expedition.ranges import within

Suggest = Literal["ranked", "endpoint", "all", "oracle"]


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
    """Who suggests goals, and how near a caption must come to one."""

    suggest: Suggest | str = "ranked"
    """Who suggests goals: ranked (the pairs of verb and object whose words the embedder finds nearest),
    endpoint (a language model, asked about each state), or the controls: all (every pair alike) and
    oracle (the achievements that the environment counts, which leaks the task)."""
    share: float = 0.25
    """Share of all pairs that `ranked` suggests."""
    threshold: float = 0.99
    """Cosine above which a caption reaches a goal; ELLM's for Crafter, where words must be the same."""
    embedder: str = "wordllama"
    """What embeds captions and goals: wordllama, whose weights come with its package, or the name or
    folder of a sentence-transformers model."""
    endpoint: str = ""
    """Address of an OpenAI-compatible service, up to and with /v1; the variable OPENAI_API_KEY holds its key.
    Answers are kept in the user's cache folder (or EXPEDITION_LANGUAGE_CACHE), and asked for once."""
    model: str = ""
    """Name of the language model that it runs."""
    goals: int = 5
    """Goals that it is asked for in a state."""
    timeout: float = 30.0
    """Seconds that it may take to answer."""

    def __post_init__(self) -> None:
        if self.suggest not in get_args(Suggest):
            raise unknown_name("source of goals (language.suggest)", self.suggest, get_args(Suggest))
        within(self, "agent.intrinsic.language", "share", above=0, most=1)
        within(self, "agent.intrinsic.language", "threshold", least=0, below=1)
        within(self, "agent.intrinsic.language", "goals", least=1)
        within(self, "agent.intrinsic.language", "timeout", above=0)
        asks = self.suggest == "endpoint"
        if asks and not (self.endpoint.startswith(("http://", "https://")) and self.model):
            raise UserError(
                "Goals from an endpoint need its address and a model: set agent.intrinsic.language.endpoint, "
                "for instance to http://localhost:8000/v1, and agent.intrinsic.language.model."
            )
        if not asks and (self.endpoint or self.model):
            raise UserError(
                f"agent.intrinsic.language has an endpoint or a model, which the suggest '{self.suggest}' "
                "does not ask: set suggest to endpoint, or leave them out."
            )
