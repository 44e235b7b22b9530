"""Phrases as vectors: those of WordLlama's own code, without a network."""

import importlib.util
import socket
import subprocess
import sys

import numpy as np
import pytest

from expedition import UserError
from exploration.language.embedder import make_embedder, unit

PHRASES = ["collect wood", "make iron pickaxe", "you feel hungry", "attack zombie", "kill zombie"]
THEIRS = """
import json, pathlib, sys, wordllama
folder = pathlib.Path(wordllama.__file__).parent
model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
print(json.dumps(model.embed(json.loads(sys.argv[1]), norm=True).tolist()))
"""


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_vectors_are_those_of_wordllama_and_no_network_is_asked(offline):
    import json

    embed = make_embedder("wordllama")
    found = embed(PHRASES)
    assert found.shape == (5, 256)
    assert found.dtype == np.float32
    said = subprocess.run(
        [sys.executable, "-c", THEIRS, json.dumps(PHRASES)], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(found, np.array(json.loads(said.stdout)), atol=1e-5)
    near = found @ found.T
    assert near[3, 4] > 0.7 > near[0, 3]
    assert embed([]).shape == (0, 256)


def test_a_package_that_is_missing_is_told_with_its_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'expedition\[language\]'"):
        make_embedder("wordllama")


def test_another_embedder_needs_sentence_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match="'all-MiniLM-L6-v2' needs a package .*pip install sentence-transf"):
        make_embedder("all-MiniLM-L6-v2")


def test_another_embedder_is_asked_and_normalised(monkeypatch):
    class Model:
        def __init__(self, name, device):
            if name != "mine":
                raise OSError("no such model")

        def encode(self, phrases):
            return np.array([[3.0, 4.0]] * len(phrases))

    monkeypatch.setitem(sys.modules, "sentence_transformers", type("M", (), {"SentenceTransformer": Model}))
    np.testing.assert_allclose(make_embedder("mine")(["a", "b"]), [[0.6, 0.8]] * 2)
    with pytest.raises(UserError, match=r"'theirs' cannot be loaded \(no such model\)"):
        make_embedder("theirs")


def test_nothing_has_no_direction():
    assert unit(np.zeros((1, 2))).tolist() == [[0, 0]]
