import os

import fsspec
import pytest
import torch

from expedition import UserError
from training.storage.checkpoint import open_checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.hub import located
from training.storage.shared import fetched, pull

WEIGHTS = torch.arange(6.0).reshape(2, 3)


@pytest.fixture(scope="module")
def bucket():
    """An address on a server that speaks S3, on this machine."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
        yield "s3://bucket"
        server.stop()


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
