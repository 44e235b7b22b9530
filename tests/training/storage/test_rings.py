"""A replay on disk holds what one in memory holds, leaves nothing behind, and says when there is no room."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from expedition import UserError
from training import Logistics, Replay

SPEC = {
    "image": ((8, 8, 3), np.dtype(np.uint8)),
    "task/reward": ((), np.dtype(np.float32)),
    "is_first": ((), np.dtype(bool)),
}
ROW_BYTES = 192 + 4 + 1


def rows(rng, num_envs=3):
    return {
        "image": rng.integers(0, 256, (num_envs, 8, 8, 3), np.uint8),
        "task/reward": rng.normal(size=num_envs).astype(np.float32),
        "is_first": rng.random(num_envs) < 0.2,
    }


def test_on_disk_it_holds_and_draws_what_it_would_in_memory(tmp_path):
    cap = 3 * ROW_BYTES * 100 + 17
    memory, disk = Replay(3, SPEC, cap), Replay(3, SPEC, cap, folder=tmp_path / "run")
    assert disk.capacity == memory.capacity == 100
    assert disk.nbytes == 3 * ROW_BYTES * 100
    rng = np.random.default_rng(0)
    for t in range(250):
        arrived = rows(rng)
        memory.add(arrived)
        disk.add(arrived)
        if t % 40 == 30:
            batches = [replay.sample(5, 9, np.random.default_rng(t)) for replay in (memory, disk)]
            for name in SPEC:
                np.testing.assert_array_equal(batches[0][name], batches[1][name])
    for one, two in zip(memory.sequences(), disk.sequences(), strict=True):
        for name in SPEC:
            np.testing.assert_array_equal(one[name], two[name])


def test_it_says_where_it_lies(tmp_path):
    replay = Replay(4, SPEC, 2**20, folder=tmp_path)
    assert replay.describe() == f"replay: at most 1.00 MiB on disk, 4 x {replay.capacity:,} rows of 0.2 kB"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_its_files_are_in_the_folder_and_have_no_name(tmp_path):
    replay = Replay(2, SPEC, 2**20, folder=tmp_path)
    replay.add(rows(np.random.default_rng(0), 2))
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) == len(SPEC)
    assert list(tmp_path.iterdir()) == []
    del replay
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_too_large_a_replay_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        UserError, match=r"A replay of 1048576.00 GiB does not fit .* GiB free: make room"
    ) as e:
        Replay(1, {"image": ((2**20,), np.dtype(np.uint8))}, 2**50, folder=tmp_path)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
def test_a_disk_that_fills_meanwhile_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"Could not write the replay .*No space left.* free some space"):
        Replay(1, SPEC, 2**16, folder=tmp_path)


def test_an_unknown_store_is_refused():
    with pytest.raises(UserError, match="disk"):
        Logistics(replay_store="disc")
