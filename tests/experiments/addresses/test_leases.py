import json
import threading
import time
import uuid

import pytest

from experiments.addresses import leases
from experiments.addresses.leases import Leases
from tests.stores import s3_bucket
from training.storage.shared import Store


@pytest.fixture(scope="module")
def bucket():
    with s3_bucket() as address:
        yield address


@pytest.fixture(params=["memory", "s3"])
def store(request):
    """A store of its own for each test."""
    base = "memory://" if request.param == "memory" else request.getfixturevalue("bucket")
    return Store(f"{base}/{uuid.uuid4().hex}")


def test_one_of_two_has_a_run_until_it_lets_go(store):
    one, other = Leases(store, "one"), Leases(store, "other")
    assert one.take("run")
    assert not other.take("run")
    assert other.take("another run")
    assert one.renew("run")
    assert other.is_fresh("run")
    one.release("run")
    assert not other.is_fresh("run")
    assert other.take("run")
    assert not one.renew("run")


def test_of_many_that_try_at_once_one_succeeds(store):
    each = [Leases(store, str(number)) for number in range(8)]
    begin, won = threading.Barrier(8), []

    def attempt(it):
        begin.wait()
        won.append(it.take("run"))

    threads = [threading.Thread(target=attempt, args=(it,)) for it in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_one_that_stands_still_while_it_is_watched_is_taken_over_whatever_its_clock(store, monkeypatch):
    one, other = Leases(store, "one"), Leases(store, "other")
    monkeypatch.setattr(leases, "STALE_SECONDS", 0.05)
    assert one.take("run")
    assert not other.take("run")  # seen for the first time
    time.sleep(0.06)
    assert one.renew("run")
    assert not other.take("run")  # it moved
    time.sleep(0.06)
    assert other.take("run")
    assert not one.renew("run")
    one.release("run")  # which takes nothing from the other
    assert other.renew("run")


def test_a_very_old_one_needs_no_watching_and_one_s_own_none_at_all(store):
    old = {"owner": "gone", "host": "h", "time": time.time() - 2000}
    store.write("leases/run/00000007.json", json.dumps(old).encode())
    one = Leases(store, "one")
    assert not one.is_fresh("run")
    assert one.take("run")
    assert list(store.sizes("leases/run")) == ["00000008.json"]
    assert Leases(store, "one").take("run")  # the same folder of the same machine, begun again
    assert not one.renew("run")


def test_a_lease_that_is_half_written_is_somebody_s(store):
    store.write("leases/run/00000001.json", b'{"own')
    assert not Leases(store, "one").take("run")
