import os

import fsspec
import pytest
import torch

from expedition import UserError
from tests.stores import s3_bucket
from training.storage.checkpoint import open_checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.hub import located
from training.storage.shared import Store, fetched, pull

WEIGHTS = torch.arange(6.0).reshape(2, 3)


@pytest.fixture(scope="module")
def bucket():
    """An address on a server that speaks S3, on this machine."""
    with s3_bucket() as address:
        yield address


@pytest.fixture
def run(tmp_path):
    """A folder with one checkpoint, and a file that it shares."""
    folder = tmp_path / "run"
    (folder / "replay").mkdir(parents=True)
    (folder / "replay" / "chunk").write_bytes(b"rows")
    Checkpointer(folder).save(7, {"agent": {"w": WEIGHTS}}, [folder / "replay" / "chunk"])
    return folder


def send(folder, address):
    system, root = fsspec.core.url_to_fs(address)
    system.put(f"{folder}{os.sep}", root, recursive=True)
    return system, root


@pytest.mark.parametrize("kind", ["memory", "s3", "file"])
def test_a_run_is_read_from_an_address(kind, run, tmp_path, request):
    base = {"memory": "memory://", "file": f"file://{tmp_path}"}.get(kind) or request.getfixturevalue(
        "bucket"
    )
    send(run, f"{base}/runs/{kind}")
    checkpoint = open_checkpoint(located(f"{base}/runs/{kind}"))
    checkpoint.verify()
    assert checkpoint.step == 7
    assert torch.equal(checkpoint.load("agent")["w"], WEIGHTS)


def test_damage_in_the_bucket_is_told(run, bucket):
    system, root = send(run, f"{bucket}/runs/damaged")
    (tensors,) = [name for name in system.find(root) if name.endswith(".safetensors")]
    data = bytearray(system.cat_file(tensors))
    data[-1] ^= 1
    system.pipe_file(tensors, bytes(data))
    with pytest.raises(UserError, match="has been changed"):
        open_checkpoint(fetched(f"{bucket}/runs/damaged")).load("agent")


def test_what_is_wrong_with_an_address_is_told_in_a_sentence(bucket, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be opened.*s4.*write s3://"):
        pull("s4://bucket/run", tmp_path)
    with pytest.raises(UserError, match="nothing at 'memory://none'"):
        pull("memory://none", tmp_path)
    with pytest.raises(UserError, match="s3://nobucket/run"):
        pull("s3://nobucket/run", tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match="cannot be read.*network"):
        pull(f"{bucket}/run", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["memory", "s3", "file"])
def test_small_files_are_written_created_once_and_removed(kind, tmp_path, request):
    base = {"memory": "memory://", "file": f"file://{tmp_path}"}.get(kind) or request.getfixturevalue(
        "bucket"
    )
    store = Store(f"{base}/small-{kind}/")
    assert store.sizes() == {}
    assert store.read("a/b") is None
    assert store.create("a/b", b"one")
    assert not store.create("a/b", b"other")
    assert store.read("a/b") == b"one"
    store.write("a/b", b"three")
    (tmp_path / "sent").write_bytes(b"12")
    store.put({"a/c": tmp_path / "sent", "d": tmp_path / "sent"})
    assert store.sizes() == {"a/b": 5, "a/c": 2, "d": 2}
    assert store.sizes("a") == {"b": 5, "c": 2}
    store.get({"a/b": tmp_path / "x" / "got"})
    assert (tmp_path / "x" / "got").read_bytes() == b"three"
    store.remove(["a/b", "d"])
    store.remove(["d"])  # gone already
    store.remove([])
    assert store.sizes() == {"a/c": 2}
