"""The commands on a study in a bucket: `study`, `status`, `report` and `compare`."""

import json

import pytest

from experiments.addresses.leases import Leases
from experiments.addresses.runs import send
from tests.experiments.launchers.alike import finished_of
from tests.stores import s3_bucket
from training.storage.shared import Store

MACHINE = ("--jobs", 1, "--wandb", "off", "--compile", "off", "--threads", 1)


@pytest.fixture(scope="module")
def bucket():
    with s3_bucket() as address:
        yield address


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def results(store):
    """Metrics of the finished runs at an address."""
    found = [name for name in store.sizes() if name.endswith("/result.json")]
    return {name.partition("/")[0]: json.loads(store.read(name))["metrics"] for name in found}


def sent(address, folder, but=""):
    """Put a study of a folder to an address, without some of its runs."""
    store = Store(address)
    store.put({"study.json": folder / "study.json"})
    for path in folder.glob("*/config.json"):
        if not but or but not in path.parent.name:
            send(store, path.parent.name, path.parent, None)
    return store


def test_a_study_is_finished_in_a_bucket_and_read_from_there(
    studied, study_file, bucket, cli, in_this_process, monkeypatch
):
    address, file = f"{bucket}/runs/catch", study_file(name="catch")
    store = sent(address, studied[0], but="random-policy-s0")
    with monkeypatch.context() as patch:  # the page is drawn once, below
        patch.setattr("experiments.reporting.publish.write_page", lambda *_: None)
        code, out, err = cli("study", file, "--seeds", 1, *MACHINE, "--out", address)
    assert code == 0, err
    assert f"kept at {address}" in err
    assert f"3 runs are done already at {address}." in err
    assert f"All of it is at {address}." in err
    assert {n: m for n, m in results(store).items() if "-s0-" in n} == finished_of(0, studied[0])
    assert {"study.json", "report.txt", "summary.json"} <= set(store.sizes())

    assert cli("status", address)[1].splitlines()[0] == f"{address}: 4 runs: 4 done"
    assert list(json.loads(cli("status", f"{bucket}/runs", "--json")[1])) == [address]
    store.remove(["report.txt"])
    code, again, err = cli("report", address)
    assert code == 0, err
    assert again.splitlines()[:-1] == out.splitlines()[:-1]
    assert {"report.html", "report.txt"} <= set(store.sizes())


def test_status_tells_who_is_at_work_by_the_leases(studied, bucket, cli):
    address = f"{bucket}/runs/going"
    store = sent(address, studied[0], but="-s1-")
    running = next(path.name for path in studied[0].glob("model-s1-*"))
    store.write(f"{running}/status.json", b'{"state": "running", "env_step": 7, "steps": 40}')
    leases = Leases(store, "somebody")
    assert leases.take(running)
    code, out, _ = cli("status", address)
    assert code == 0
    assert out.splitlines()[0] == f"{address}: 8 runs: 4 done, 1 running, 3 waiting"
    assert f"{running}" in out
    assert "running 7 of 40 steps" in out
    leases.release(running)
    assert "4 done, 1 stopped, 3 waiting" in cli("status", address)[1]


def test_studies_at_addresses_are_compared_with_those_in_folders(studied, tmp_path, cli):
    address = f"memory://{tmp_path.name}/catch"
    sent(address, studied[0])
    code, out, err = cli("compare", address, studied[0], "--out", tmp_path / "compared")
    assert code == 0, err
    assert out.startswith("2 studies ask 1 contrasts")
    assert (tmp_path / "compared" / "compare.csv").exists()


def test_an_address_without_a_study_is_one_sentence(refused):
    assert "holds no study" in refused("status", "memory://nothing/at-all")
    assert "holds no study" in refused("report", "memory://nothing/at-all")
    assert "write s3://" in refused("report", "s4://nothing")
    assert "Only a study is written to an address" in refused("pretrain", "--out", "s3://bucket/run")
