"""Who suggests goals: an embedder's ranking, a language model, and two controls."""

from __future__ import annotations

import logging
import re

import numpy as np

from expedition.errors import UserError
from exploration.language.cache import Answers
from exploration.language.embedder import Embedder
from exploration.language.endpoint import Endpoint, NoAnswer
from exploration.language.goals import Suggestions, Vocabulary

logger = logging.getLogger(__name__)

SHORT = 6
"""Words that a suggested goal may have."""


def all_pairs(words: Vocabulary) -> tuple[str, ...]:
    """Every verb with every object, sense or nonsense, and the verbs that need none."""
    return (*(f"{verb} {thing}" for verb in words.verbs for thing in words.objects), *words.alone)


def ranked_pairs(words: Vocabulary, embed: Embedder, share: float) -> tuple[str, ...]:
    """The share of all pairs whose verb lies nearest to its object, and the verbs that need none."""
    nearness = embed(words.verbs) @ embed(words.objects).T  # (V, O)
    count = max(1, round(share * nearness.size))
    best = np.argsort(-nearness, axis=None, kind="stable")[:count]
    pairs = all_pairs(words)
    return (*(pairs[i] for i in best), *words.alone)


def always(goals: tuple[str, ...]) -> Suggestions:
    """The same goals in every state."""
    return lambda state: goals


class Asked:
    """A language model's goals for each state, asked for once and kept.

    An answer that does not come, or makes no sense, costs the state its goals this time. After a failure the
    endpoint is left alone for some states, for twice as many after each further one.

    Args:
        words: of the environment; goals must begin with one of its verbs.
        endpoint: who is asked.
        answers: what was answered before.
        count: goals to ask for.
    """

    def __init__(self, words: Vocabulary, endpoint: Endpoint, answers: Answers, count: int) -> None:
        self._words, self._endpoint, self._answers, self._count = words, endpoint, answers, count
        self._known: dict[str, tuple[str, ...]] = {}
        self._failures = self._rest = 0

    def check(self, state: str) -> None:
        """Ask about one state before anything runs.

        Raises:
            UserError: no answer, or none that makes sense.
        """
        try:
            self._known[state] = self._ask(state)
        except NoAnswer as error:
            raise UserError(
                f"The endpoint {self._endpoint.address} suggests no goals ({error}): start it, mend "
                "agent.intrinsic.language.endpoint, .model or .timeout, or choose another suggest."
            ) from error

    def __call__(self, state: str) -> tuple[str, ...]:
        """Goals for a state; none where nobody answers."""
        if state in self._known:
            return self._known[state]
        kept = self._kept(state)
        if kept is None and self._rest:
            self._rest -= 1
            return ()
        try:
            self._known[state] = kept or self._ask(state)
            self._failures = 0 if kept is None else self._failures
        except NoAnswer as error:
            self._failures += 1
            self._rest = 2**self._failures
            logger.warning(
                "The endpoint %s suggests no goals (%s): %d states go without before it is asked again.",
                self._endpoint.address,
                error,
                self._rest,
            )
            return ()
        return self._known[state]

    def _kept(self, state: str) -> tuple[str, ...] | None:
        answer = self._answers.get(self._endpoint.model, prompt(self._words, state, self._count))
        return None if answer is None else read_goals(answer, self._words, self._count) or None

    def _ask(self, state: str) -> tuple[str, ...]:
        kept = self._kept(state)
        if kept is not None:
            return kept
        asked = prompt(self._words, state, self._count)
        answer = self._endpoint.ask(asked)
        goals = read_goals(answer, self._words, self._count)
        if not goals:
            raise NoAnswer(f"it answered '{' '.join(answer.split())[:60]}', which holds none")
        self._answers.put(self._endpoint.model, asked, answer)
        return goals


def prompt(words: Vocabulary, state: str, count: int) -> str:
    """What a language model is asked: the words of the interface, the state, and how to answer."""
    alone = f" Or, by itself: {', '.join(words.alone)}." if words.alone else ""
    return (
        "You are playing a game. A goal is a verb and an object. "
        f"Verbs: {', '.join(words.verbs)}. Objects: {', '.join(words.objects)}.{alone} "
        f"{state or 'You see nothing special.'} Suggest {count} different goals that make sense now. "
        "Answer with one goal on each line, without articles, and nothing else."
    )


def read_goals(answer: str, words: Vocabulary, count: int) -> tuple[str, ...]:
    """The first goals in an answer, in small letters, without bullets and what is no goal."""
    lines = (re.sub(r"^[\s\-*•\d.)]+", "", line).strip(" .!\"'`*\t").lower() for line in answer.splitlines())
    fit = (line for line in lines if _is_goal(" ".join(line.split()), words))
    return tuple(dict.fromkeys(" ".join(line.split()) for line in fit))[:count]


def _is_goal(line: str, words: Vocabulary) -> bool:
    known = line in words.alone or any(line.startswith(f"{verb} ") for verb in words.verbs)
    return known and len(line.split()) <= SHORT
