"""A flipped byte in the replay costs rows, and nothing else."""

import dataclasses

import pytest

from expedition import UserError
from tests.training.test_resume import QUIET, config, stop_at
from training import evaluate_run, execute, open_checkpoint
from transfer.loader import Transfer, open_source
from transfer.plan import parse_plan

SETTINGS = config("CartPole-v1", "rnd")
DROPPING = dataclasses.replace(QUIET, drop_damaged=True)


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A run that was stopped on its way, one of whose replay's chunks has been changed since."""
    monkeypatch.setattr("training.storage.replay._CHUNK_ROWS", 8)
    with monkeypatch.context() as patch:
        stop_at(patch, 40)
        assert execute(SETTINGS, tmp_path / "run", QUIET).result is None
    chunks = open_checkpoint(tmp_path / "run").shared_files
    assert len(chunks) > 2
    data = bytearray(chunks[1].read_bytes())
    data[-1] ^= 1
    chunks[1].write_bytes(data)
    return tmp_path / "run"


def finetuned(source, folder, plan):
    settings = config("CartPole-v1", None, steps=60)
    transfer = Transfer(parse_plan(plan), open_source(source), settings)
    return execute(settings, folder, QUIET, None, transfer)


def test_a_run_with_a_damaged_replay_is_evaluated_and_carried_from(damaged, tmp_path):
    assert evaluate_run(damaged, 2, 0, "cpu")["episodes"] == 2
    assert finetuned(damaged, tmp_path / "carried", "model+policy").result is not None
    with pytest.raises(UserError, match=r"The replay of checkpoint .* is damaged"):
        finetuned(damaged, tmp_path / "rows", "replay")


def test_it_goes_on_without_the_damaged_rows_where_that_is_asked_for(damaged):
    with pytest.raises(UserError, match=r"No checkpoint is whole.*go on without .* by --drop-damaged\.$"):
        execute(SETTINGS, damaged, QUIET)
    said = []
    ended = execute(SETTINGS, damaged, DROPPING, say=said.append)
    assert ended.result["environment_steps"] >= SETTINGS.steps
    (told,) = (line for line in said if "replayed rows are gone" in line)
    assert int(told.split()[0].replace(",", "")) > 0
    assert open_checkpoint(damaged).whole_files()


def test_dropping_changes_nothing_where_nothing_is_damaged(tmp_path, monkeypatch):
    plain = execute(SETTINGS, tmp_path / "plain", QUIET)
    with monkeypatch.context() as patch:
        stop_at(patch, 40)
        execute(SETTINGS, tmp_path / "parts", DROPPING)
    assert execute(SETTINGS, tmp_path / "parts", DROPPING).result["metrics"] == plain.result["metrics"]
