"""A language model behind an OpenAI-compatible address."""

from __future__ import annotations

import os

from expedition.errors import UserError

KEY = "OPENAI_API_KEY"
"""Variable of the environment that holds the key; it is sent, and never kept."""
MOST_TOKENS = 200


class NoAnswer(Exception):
    """Nobody answered, or not as they should; says why as a clause."""


class Endpoint:
    """Asks one question at a time.

    Args:
        address: up to and with /v1.
        model: the name by which the service knows it.
        timeout: seconds to wait.

    Raises:
        UserError: the package that asks is not installed.
    """

    def __init__(self, address: str, model: str, timeout: float) -> None:
        try:
            import httpx  # noqa: F401
        except ImportError as error:
            raise UserError(
                "Goals from an endpoint need the package httpx: run `pip install 'expedition[language]'`."
            ) from error
        self.address, self.model, self._timeout = address.rstrip("/"), model, timeout

    def ask(self, question: str) -> str:
        """Return the model's answer, at temperature 0.

        Raises:
            NoAnswer: it did not come in time, or is no answer of a chat model.
        """
        import httpx

        key = os.environ.get(KEY)
        message = {"role": "user", "content": question}
        try:
            reply = httpx.post(
                f"{self.address}/chat/completions",
                json={
                    "model": self.model,
                    "messages": [message],
                    "temperature": 0,
                    "max_tokens": MOST_TOKENS,
                },
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=self._timeout,
            )
        except httpx.TimeoutException as error:
            raise NoAnswer(f"no answer within {self._timeout:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        if reply.status_code != 200:
            raise NoAnswer(f"it answered with status {reply.status_code}")
        try:
            answer = reply.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise NoAnswer("its answer is none of a chat model") from error
        if not isinstance(answer, str):
            raise NoAnswer("its answer holds no text")
        return answer
