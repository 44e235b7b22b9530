"""From phrases to unit vectors, by a model that is on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from expedition.errors import UserError

Embedder = Callable[[Sequence[str]], np.ndarray]
"""From n phrases to float32 (n, E) of length 1."""


def make_embedder(name: str) -> Embedder:
    """Return the embedder of a name: `wordllama`, or a sentence-transformers model.

    Raises:
        UserError: its package or its weights are not there.
    """
    return _packaged() if name == "wordllama" else _sentence_transformer(name)


def _packaged() -> Embedder:
    """WordLlama's mean of token vectors, 256 wide, by the files in its wheel.

    They are read here and not by `WordLlama.load`: 0.4.0 looks for its tokenizer in another folder than
    the one it ships and would download it, and importing it changes the root logger.
    """
    spec = importlib.util.find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "The reward 'language' needs a package that is not installed: run "
            "`pip install 'expedition[language]'`, or set agent.intrinsic.language.embedder to a "
            "sentence-transformers model."
        )
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = Path(spec.submodule_search_locations[0])
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        vectors = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    except Exception as error:  # noqa: BLE001  # the tokenizer's own errors are plain Exceptions
        raise UserError(
            f"WordLlama's files in {folder} cannot be read ({error}): install it again."
        ) from error

    def embed(phrases: Sequence[str]) -> np.ndarray:
        tokens = (tokenizer.encode(phrase, add_special_tokens=False).ids for phrase in phrases)
        means = [vectors[ids].astype(np.float32).mean(0) for ids in tokens]
        return unit(np.array(means, np.float32).reshape(len(phrases), vectors.shape[1]))

    return embed


def _sentence_transformer(name: str) -> Embedder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"The embedder '{name}' needs a package that is not installed: run "
            "`pip install sentence-transformers`, or leave agent.intrinsic.language.embedder at wordllama."
        ) from error
    try:
        model = SentenceTransformer(name, device="cpu")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The embedder '{name}' cannot be loaded ({' '.join(str(error).split())[:200]}): give "
            "agent.intrinsic.language.embedder the folder of a sentence-transformers model, or wordllama."
        ) from error
    return lambda phrases: unit(np.asarray(model.encode(list(phrases)), np.float32).reshape(len(phrases), -1))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, E) at length 1; zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
