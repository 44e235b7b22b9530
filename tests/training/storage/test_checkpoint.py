import errno
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from expedition.errors import UserError
from training.storage import checkpointer as module
from training.storage.checkpoint import (
    Checkpoint,
    TornCheckpoint,
    checkpoint_folders,
    digest,
    open_checkpoint,
)
from training.storage.checkpointer import Checkpointer


def state(seed=0):
    rng = np.random.default_rng(seed)
    linear = torch.nn.Linear(3, 2)
    shared = torch.arange(12.0)
    return {
        "model": linear.state_dict(),
        "zero_d": torch.tensor(3.5),
        "bool": torch.tensor([True, False]),
        "bf16": torch.randn(4).bfloat16(),
        "transposed": torch.arange(6).reshape(2, 3).T,
        "views": [shared[:6], shared[3:], shared],
        "tied": {"a": linear.weight, "b": linear.weight},
        "empty": torch.zeros(0, 3),
        "arrays": {
            "task/reward": rng.normal(size=(2, 3)).astype(np.float32),
            "bool": np.array([True, False]),
            "zero_d": np.array(7, np.int64),
            "u8": np.arange(10, dtype=np.uint8)[::-2],
            "f16": np.ones(2, np.float16),
            "u64": np.array([2**63 + 1], np.uint64),
        },
        "rng": rng.bit_generator.state,  # integers of 128 bits
        "torch_rng": torch.Generator().manual_seed(1).get_state(),
        "optimizer": {0: {"step": 3}, 1: {"m": torch.ones(2)}, "betas": (0.9, 0.999)},
        "awkward": {"$tensor": "not one", "a": {"b/c": torch.ones(1)}, "a/b": {"c": torch.zeros(1)}},
        "numbers": [1, -2.5, float("inf"), float("-inf"), None, True, "text", [], {}],
        "scalar": np.float32(0.1),
    }


def assert_equal(a, b, path=""):
    if isinstance(a, torch.Tensor | np.ndarray):
        kind = torch.Tensor if isinstance(a, torch.Tensor) else np.ndarray
        assert isinstance(b, kind), path
        assert (a.dtype, a.shape) == (b.dtype, b.shape), path
        assert a.tolist() == b.tolist(), path
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        assert isinstance(b, type(a)), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}/{i}")
    else:
        assert a == b, path
        assert isinstance(b, type(a)), path


def small(step):
    return {"agent": {"w": torch.full((5,), float(step)), "step": step}}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_everything_comes_back_as_it_was(tmp_path):
    torch.manual_seed(0)
    saved = {"agent": dict(state()), "replay": state(1), "counters": {"n": 1}}
    saved["agent"]["model"] = dict(saved["agent"]["model"])
    path = Checkpointer(tmp_path / "run").save(1234, saved, metadata={"phase": "pretrain"})
    assert path == tmp_path / "run" / "checkpoint-000000001234"
    stems = {"agent": 2, "counters": 1, "manifest": 1, "replay": 2}
    assert Counter(p.stem for p in path.iterdir()) == stems
    loaded = Checkpointer(tmp_path / "run").latest()
    assert (loaded.step, loaded.metadata, loaded.sections) == (1234, {"phase": "pretrain"}, list(saved))
    for name, tree in saved.items():
        tree = {**tree, "model": dict(tree["model"])} if "model" in tree else tree
        assert_equal(tree, loaded.load(name))
    restored = np.random.default_rng()
    restored.bit_generator.state = loaded.load("replay")["rng"]
    expected = np.random.default_rng(1)
    expected.normal(size=(2, 3))
    assert restored.random() == expected.random()
    loaded.load("agent")["arrays"]["u8"] += 1  # arrays are one's own to write to


def test_files_are_strict_json_and_hashed(tmp_path):
    path = Checkpointer(tmp_path).save(1, {"a": state(), "b": small(1)["agent"]})
    for file in path.glob("*.json"):
        json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    checkpoint = Checkpoint(path)
    assert set(checkpoint.hashes) == {"a.json", "a.safetensors", "b.json", "b.safetensors"}
    again = Checkpoint(
        Checkpointer(tmp_path / "other").save(9, {"b": small(1)["agent"], "a": small(2)["agent"]})
    )
    assert checkpoint.section_hash("b") == again.section_hash("b") != again.section_hash("a")


@pytest.mark.parametrize("leaf", [object(), b"bytes", {1, 2}, np.array(["text"]), {None: 1}])
def test_what_cannot_be_held_is_named(tmp_path, leaf):
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(TypeError, match="outer/inner"):
        checkpointer.save(1, {"a": {"outer": {"inner": leaf}}})
    assert checkpointer.latest() is None
    assert list(tmp_path.iterdir()) == []


def test_the_last_two_are_kept(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for step in (0, 9, 10, 200):
        checkpointer.save(step, small(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint-000000000010",
        "checkpoint-000000000200",
    ]
    assert checkpointer.latest().load("agent")["step"] == 200
    assert Checkpointer(tmp_path / "nowhere").latest() is None


def truncate(path):
    os.truncate(path, path.stat().st_size - 5)


def held(path):
    """All that a checkpoint was saved with."""
    checkpoint = open_checkpoint(path)
    return [checkpoint.load(name) for name in checkpoint.sections], checkpoint.whole_files()


@pytest.mark.parametrize(
    "file", ["agent.safetensors", "agent.json", "manifest.json", "../replay/c.safetensors"]
)
@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
def test_a_torn_checkpoint_is_named_and_the_one_before_used(tmp_path, caplog, file, harm):
    checkpointer, shared = Checkpointer(tmp_path), tmp_path / "replay" / "c.safetensors"
    checkpointer.save(100, small(100))
    shared.parent.mkdir()
    shared.write_bytes(b"chunk" * 100)
    torn = checkpointer.save(200, small(200), [shared])
    harm(torn / file)
    fresh = Checkpointer(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = fresh.latest()
    assert (found.step, found.load("agent")["step"]) == (100, 100)
    assert str(torn) in caplog.text
    assert Path(file).name in caplog.text
    with pytest.raises(UserError, match="checkpoint-000000000200"):
        held(torn)
    fresh.save(300, small(300))  # the torn one is no longer worth a place
    assert [p.name[-3:] for p in checkpoint_folders(tmp_path)] == ["100", "300"]


def test_all_torn_is_an_error_that_names_them(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for step in (1, 2):
        flip(checkpointer.save(step, small(step)) / "agent.safetensors")
    with pytest.raises(UserError, match=r"checkpoint-000000000002.*checkpoint-000000000001") as error:
        checkpointer.latest()
    assert "\n" not in str(error.value)


def test_damage_costs_what_it_damages(tmp_path, caplog):
    checkpointer, shared = Checkpointer(tmp_path), tmp_path / "replay" / "c.safetensors"
    shared.parent.mkdir()
    shared.write_bytes(b"chunk" * 100)
    states = {"agent": small(1)["agent"], "critic": {"x": 2}}
    paths = [checkpointer.save(step, states, [shared]) for step in (1, 2)]
    flip(shared)  # both need it
    opened = open_checkpoint(tmp_path)
    assert (opened.step, opened.load("critic")) == (2, {"x": 2})
    with pytest.raises(UserError, match=r"The replay of checkpoint .*c\.safetensors has been changed"):
        opened.whole_files()
    assert opened.whole_files(drop_damaged=True) == []
    assert Checkpointer(tmp_path).latest(shared=False).step == 2
    with pytest.raises(UserError, match="No checkpoint is whole"):
        Checkpointer(tmp_path).latest()

    flip(paths[1] / "agent.safetensors")  # the one before is whole but for what is shared
    with caplog.at_level(logging.WARNING):
        assert open_checkpoint(tmp_path).step == 1
    assert f"'{paths[1]}' (agent.safetensors has been changed) is torn" in caplog.text
    flip(paths[0] / "agent.safetensors")
    with caplog.at_level(logging.WARNING):
        opened = open_checkpoint(tmp_path)
    assert "is used as far as it goes" in caplog.text
    assert (opened.step, opened.load("critic")) == (2, {"x": 2})
    with pytest.raises(UserError, match=r"Cannot read 'agent' .*agent\.safetensors has been changed"):
        opened.load("agent")
    for path in paths:
        flip(path / "manifest.json")
    with pytest.raises(UserError, match="No checkpoint can be opened"):
        open_checkpoint(tmp_path)


def test_shared_files_live_as_long_as_a_kept_checkpoint_needs_them(tmp_path, monkeypatch):
    folder = tmp_path / "replay"
    folder.mkdir()
    chunks = [folder / f"chunk-{i}.safetensors" for i in range(5)]
    (folder / ".chunk-9.safetensors.tmp").write_bytes(b"torn")
    hashed = []
    entry = module.file_entry
    monkeypatch.setattr(module, "file_entry", lambda path: hashed.append(path) or entry(path))
    checkpointer = Checkpointer(tmp_path)
    for step in range(4):
        for i in (step, step + 1):
            if not chunks[i].exists():
                chunks[i].write_bytes(bytes([i]) * 1000)
        checkpointer.save(step, small(step), chunks[step : step + 2])
    assert sorted(folder.iterdir()) == chunks[2:5]  # steps 2 and 3 are kept
    assert [hashed.count(chunk) for chunk in chunks] == [1, 1, 1, 1, 1]
    assert checkpointer.latest().shared_files == chunks[3:5]
    for bad in (tmp_path / "loose.safetensors", tmp_path.parent / "x" / "outside.safetensors"):
        with pytest.raises(ValueError, match="shared file"):
            checkpointer.save(5, small(5), [bad])


def test_the_same_step_saved_again_replaces(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(5, {"a": {"x": 1}})
    checkpointer.save(5, {"a": {"x": 2}})
    assert checkpointer.latest().load("a") == {"x": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-000000000005"]


def test_going_back_drops_the_steps_left_behind(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for step in (10, 20, 15):
        checkpointer.save(step, small(step))
    assert checkpointer.latest().step == 15


class Killed(BaseException):
    """Stands for a kill: nothing that tidies up after errors sees it."""


@pytest.mark.parametrize("again", [False, True])
def test_a_kill_at_any_moment_leaves_a_usable_checkpoint(tmp_path, monkeypatch, again):
    step = 2 if again else 3
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")}
    for moment in range(200):
        run_dir = tmp_path / str(moment)
        checkpointer, chunk = Checkpointer(run_dir), run_dir / "replay" / "c1.safetensors"
        chunk.parent.mkdir(parents=True)
        chunk.write_bytes(b"1")
        checkpointer.save(1, small(1), [chunk])
        checkpointer.save(2, small(2))
        calls = []

        def dying(name, calls=calls, moment=moment):
            def call(*args, **kwargs):
                calls.append(name)
                if len(calls) > moment:
                    raise Killed
                return real[name](*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, dying(name))
            try:
                checkpointer.save(step, {"agent": {**small(step)["agent"], "new": True}})
                finished = True
            except Killed:
                finished = False
        found = Checkpointer(run_dir).latest()
        assert found.step in (2, step)
        assert found.load("agent")["step"] == found.step
        Checkpointer(run_dir).save(4, small(4))
        assert len(list(run_dir.glob("*checkpoint-*"))) == 2, "leftovers are swept"
        if finished:
            assert found.load("agent")["new"]
            break
    assert finished
    assert moment > 5


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from training.storage.checkpointer import Checkpointer
random.seed(0)
run_dir = Path(sys.argv[1])
before = -1
for round in range(8):
    child = os.fork()
    if child == 0:
        checkpointer = Checkpointer(run_dir)
        found = checkpointer.latest()
        step = found.step if found else 0
        while True:
            step += 1
            checkpointer.save(step, {"a": {"w": torch.full((50_000,), float(step)), "step": step}})
    time.sleep(0.1 + 0.1 * random.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = Checkpointer(run_dir).latest()
    state = found.load("a")
    assert found.step == state["step"] == state["w"].unique().item()
    assert found.step >= before
    before = found.step
assert before > 8
"""


def test_kill_nine_while_saving_leaves_a_usable_checkpoint(tmp_path):
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "writable"), (errno.EIO, "mend that")],
)
def test_a_disk_that_refuses_costs_nothing(tmp_path, monkeypatch, number, advice):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, small(1))

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(UserError, match=advice) as error:
            checkpointer.save(2, small(2))
    assert "checkpoint of step 2" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "intact" in str(error.value)
    assert "\n" not in str(error.value)
    assert [p.name[-1] for p in tmp_path.iterdir()] == ["1"]
    assert checkpointer.latest().step == 1


@pytest.fixture
def tiny_disk(tmp_path):
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    try:
        done = subprocess.run(command, capture_output=True)
    except OSError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True, capture_output=True)


def test_a_really_full_disk(tiny_disk):
    checkpointer = Checkpointer(tiny_disk / "run")
    checkpointer.save(1, small(1))
    with pytest.raises(UserError, match="free some space"):
        checkpointer.save(2, {"agent": {"w": torch.zeros(500_000)}})
    assert checkpointer.latest().step == 1
    checkpointer.save(2, small(2))
    assert checkpointer.latest().step == 2


def test_a_really_read_only_disk(tiny_disk):
    checkpointer = Checkpointer(tiny_disk)
    checkpointer.save(1, small(1))
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True, capture_output=True)
    with pytest.raises(UserError, match="make that folder writable"):
        checkpointer.save(2, small(2))
    assert checkpointer.latest().step == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="make that folder writable"):
        Checkpointer(tmp_path).save(1, small(1))
    tmp_path.chmod(0o755)


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "run").write_text("mine")
    for run_dir in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(UserError, match="move the file"):
            Checkpointer(run_dir).save(1, small(1))
    assert (tmp_path / "run").read_text() == "mine"


def test_another_runs_checkpoint_is_opened_by_run_or_by_folder(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    first = checkpointer.save(1, small(1))
    checkpointer.save(2, small(2))
    assert open_checkpoint(tmp_path).step == 2
    assert open_checkpoint(first).step == 1
    with pytest.raises(UserError, match="did you mean agent"):
        open_checkpoint(first).load("agnt")


def rewrite(path, **changes):
    manifest = json.loads(path.read_text())
    manifest.pop("sha256")
    manifest.update(changes)
    path.write_text(json.dumps({**manifest, "sha256": digest(manifest)}))


def test_missing_and_foreign_checkpoints_get_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text('{"name": "an extension"}')
    future = Checkpointer(tmp_path / "future").save(1, small(1))
    rewrite(future / "manifest.json", format=99)
    expected = {
        "nowhere": "no checkpoint at",
        "file": "is a file",
        "empty": "holds no checkpoint",
        "foreign": "not one of Expedition's",
        "future": "format 99, this version reads 1",
    }
    for name, words in expected.items():
        with pytest.raises(UserError, match=words) as error:
            open_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_manifest_that_points_outside_is_refused(tmp_path):
    path = Checkpointer(tmp_path / "run").save(1, small(1))
    rewrite(path / "manifest.json", shared={"../secret": {"sha256": "", "bytes": 0}})
    with pytest.raises(TornCheckpoint, match="outside"):
        Checkpoint(path)
