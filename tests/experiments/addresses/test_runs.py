import uuid

import pytest
import torch

from expedition import UserError
from experiments.addresses import runs
from experiments.addresses.runs import bring, send, step_here, step_there
from training.storage.checkpoint import open_checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.shared import Store


@pytest.fixture
def store():
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def folder(tmp_path):
    """A run with one checkpoint."""
    folder = tmp_path / "here" / "run"
    (folder / "replay").mkdir(parents=True)
    (folder / "wandb").mkdir()
    (folder / "wandb" / "log").write_text("W&B's own")
    (folder / ".lock").touch()
    (folder / "config.json").write_text("{}")
    saved(folder, 100)
    return folder


def saved(folder, step):
    """One more checkpoint, with one more chunk of the replay, and a line of metrics."""
    (folder / "replay" / f"{step}.safetensors").write_bytes(b"rows %d" % step)
    chunks = sorted((folder / "replay").iterdir())
    Checkpointer(folder).save(step, {"agent": {"w": torch.full((2,), float(step))}}, chunks)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f'{{"env_step": {step}}}\n')


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def mirrored(folder):
    return {n: held for n, held in files(folder).items() if not n.startswith(("wandb/", ".lock"))}


def test_a_run_comes_back_as_it_was_but_for_what_is_this_machine_s(store, folder, tmp_path):
    send(store, "run", folder, None)
    there = tmp_path / "there" / "run"
    bring(store, "run", there, store.sizes("run"))
    assert files(there) == mirrored(folder)
    open_checkpoint(there).verify()
    assert step_here(there) == step_there(store.sizes("run")) == 100
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_what_is_there_already_is_not_sent_again(store, folder, monkeypatch):
    sent = []
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda it, files: (sent.extend(files), put(it, files)))
    known = send(store, "run", folder, None)
    saved(folder, 200)
    for told in (known, None):  # by this process, and by one that begins
        sent.clear()
        send(store, "run", folder, told)
        tensors = [name for name in sent if name.endswith(".safetensors")]
        new = ["run/checkpoint-000000000200/agent.safetensors", "run/replay/200.safetensors"]
        assert sorted(tensors) == (new if told is not None else [])


def test_what_the_run_drops_is_dropped_there(store, folder):
    for step in (100, 200, 300):
        saved(folder, step) if step > 100 else None
        send(store, "run", folder, None)
    assert set(store.sizes("run")) == set(mirrored(folder))
    (folder / "config.json").unlink()
    send(store, "run", folder, None)
    assert set(store.sizes("run")) == set(mirrored(folder))


@pytest.mark.parametrize("cut", range(1, 4))
def test_who_is_cut_off_leaves_a_whole_checkpoint(store, folder, tmp_path, monkeypatch, cut):
    send(store, "run", folder, None)
    for step in (200, 300, 400):  # the first is no longer among those that are kept here
        saved(folder, step)
    put, calls = Store.put, []

    def breaks(it, files):
        calls.append(files)
        if len(calls) == cut:
            raise UserError("The address does not answer.")
        put(it, files)

    monkeypatch.setattr(Store, "put", breaks)
    with pytest.raises(UserError):
        send(store, "run", folder, None)
    monkeypatch.undo()
    there = tmp_path / "there" / "run"
    bring(store, "run", there, store.sizes("run"))
    checkpoint = open_checkpoint(there)
    checkpoint.verify()
    assert checkpoint.step == 100
    send(store, "run", folder, None)
    bring(store, "run", there, store.sizes("run"))
    assert files(there) == mirrored(folder)


def test_what_the_run_does_meanwhile_does_not_tear_what_is_sent(store, folder, tmp_path, monkeypatch):
    put = Store.put

    def meanwhile(it, files):
        if not (folder / "result.json").exists():
            for step in (200, 300, 400):
                saved(folder, step)
            (folder / "result.json").write_text("{}")
        put(it, files)

    monkeypatch.setattr(Store, "put", meanwhile)
    send(store, "run", folder, None)
    assert step_there(store.sizes("run")) == 100
    assert "result.json" not in store.sizes("run")
    there = tmp_path / "there" / "run"
    bring(store, "run", there, store.sizes("run"))
    open_checkpoint(there).verify()


def test_only_what_a_report_needs_is_light(folder):
    assert {name for name in mirrored(folder) if runs.is_light(name)} == {"config.json", "metrics.jsonl"}


def test_a_folder_that_cannot_be_brought_stays(store, folder, monkeypatch):
    send(store, "run", folder, None)
    before = files(folder)

    def fails(it, files):
        raise UserError("The address does not answer.")

    monkeypatch.setattr(Store, "get", fails)
    with pytest.raises(UserError):
        bring(store, "run", folder, ["config.json"])
    assert files(folder) == before
