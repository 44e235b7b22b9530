"""A server on this machine that speaks S3, for tests of what lies at an address."""

import contextlib
import uuid

import fsspec
import pytest


@contextlib.contextmanager
def s3_bucket():
    """The address of an empty bucket; skips the test where the packages are missing."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    name = f"bucket-{uuid.uuid4().hex}"  # servers of one process share what they hold
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
        yield f"s3://{name}"
        server.stop()
