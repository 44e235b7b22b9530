"""What a language model answered, on disk, so that nobody is asked twice and a rerun repeats exactly."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

CACHE = "EXPEDITION_LANGUAGE_CACHE"
"""Variable of the environment that names another folder."""


def cache_folder() -> Path:
    """Where answers are kept for all runs of this user."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get(CACHE) or Path(home) / "expedition" / "language")


class Answers:
    """One file for each pair of model and question, named by its hash.

    A file that is damaged counts as none. Of a folder that cannot be written a warning tells once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._warned = folder, False

    def get(self, model: str, question: str) -> str | None:
        """The answer that is kept, if any."""
        try:
            kept = json.loads(self._path(model, question).read_text(encoding="utf-8"))
            answer = kept["answer"] if (kept["model"], kept["question"]) == (model, question) else None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return answer if isinstance(answer, str) else None

    def put(self, model: str, question: str, answer: str) -> None:
        """Keep an answer: written aside and renamed, for other runs may be writing too."""
        path = self._path(model, question)
        kept = json.dumps({"model": model, "question": question, "answer": answer}, indent=1)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(kept)
            os.replace(aside, path)
        except OSError as error:
            if not self._warned:
                logger.warning(
                    "Answers cannot be kept in %s (%s): a rerun will ask again.", self._folder, error
                )
            self._warned = True

    def _path(self, model: str, question: str) -> Path:
        digest = hashlib.sha256(json.dumps([model, question]).encode()).hexdigest()
        return self._folder / f"{digest}.json"
