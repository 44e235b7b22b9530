import json
import os
from pathlib import Path

import numpy as np
import pytest

from expedition.errors import UserError
from training.logging.sinks import JsonlSink, MultiSink, truncate_after


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_jsonl_lines_are_strict_json_with_the_step_first(tmp_path):
    sink = JsonlSink(tmp_path / "run")
    media = {"video": tmp_path / "run" / "media" / "a.gif"}
    sink.write(3, {"loss": np.float32(0.5), "bad": float("nan"), "worse": -np.inf}, media)
    sink.episode(4, {"return": 1.0, "unlocked": {"wood": np.int64(2)}})
    text = (tmp_path / "run" / "metrics.jsonl").read_text()  # before closing: each line is out at once
    assert (
        text
        == '{"env_step": 3, "loss": 0.5, "bad": null, "worse": null, "media": {"video": "media/a.gif"}}\n'
    )
    assert lines(tmp_path / "run" / "episodes.jsonl") == [
        {"env_step": 4, "return": 1.0, "unlocked": {"wood": 2}}
    ]
    sink.close()
    sink.close()


def test_summaries_add_up_across_a_resume(tmp_path):
    for values in ({"a": 1, "b": 2}, {"b": float("inf")}):
        sink = JsonlSink(tmp_path)
        sink.summary(values)
        sink.close()
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1, "b": None}


def test_a_kill_leaves_the_old_file(tmp_path, monkeypatch):
    sink = JsonlSink(tmp_path)
    sink.summary({"a": 1})
    sink.write(1, {"x": 1})
    sink.write(2, {"x": 2})

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        sink.summary({"a": 2})
    with pytest.raises(KeyboardInterrupt):
        truncate_after(tmp_path, 1)
    assert json.loads((tmp_path / "summary.json").read_text()) == {"a": 1}
    assert len(lines(tmp_path / "metrics.jsonl")) == 2
    sink.close()


def test_resume_cuts_later_and_torn_lines(tmp_path):
    sink = JsonlSink(tmp_path)
    for step in (10, 20, 30):
        sink.write(step, {"x": step})
        sink.episode(step, {"return": step})
    sink.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"env_step": 15, "x": 1')  # torn by a kill
    truncate_after(tmp_path, 20)
    resumed = JsonlSink(tmp_path)
    resumed.write(30, {"x": 31})
    resumed.close()
    assert [line["x"] for line in lines(tmp_path / "metrics.jsonl")] == [10, 20, 31]
    assert [line["env_step"] for line in lines(tmp_path / "episodes.jsonl")] == [10, 20]
    truncate_after(tmp_path / "nowhere", 5)
    assert not (tmp_path / "nowhere").exists()


def test_before_the_first_step_updates_say_what_is_later(tmp_path):
    sink = JsonlSink(tmp_path)
    sink.write(0, {"x": 1})
    for step, updates in ((0, 10), (0, 20), (5, 20)):
        sink.write(step, {"x": 2, "updates": updates})
    sink.close()
    truncate_after(tmp_path, 0, updates=10)
    told = [(line["env_step"], line.get("updates")) for line in lines(tmp_path / "metrics.jsonl")]
    assert told == [(0, None), (0, 10)]


@pytest.mark.parametrize("judged", [False, True])
def test_an_evaluation_at_the_checkpoint_stays_where_the_checkpoint_knows_of_it(tmp_path, judged):
    sink = JsonlSink(tmp_path)
    for step in (3, 5, 8):
        sink.write(step, {"evaluation/return": 1.0})
    sink.close()
    truncate_after(tmp_path, 5, updates=7, judged=judged)
    told = [line["env_step"] for line in lines(tmp_path / "metrics.jsonl")]
    assert told == ([3, 5] if judged else [3])


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    sink = JsonlSink(tmp_path)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    sink._metrics = type(sink._metrics)(full, "wb")
    with pytest.raises(UserError, match="free some space") as error:
        sink.write(1, {"x": 1})
    assert "\n" not in str(error.value)
    sink.close()


def test_multi_sink_hands_on_and_closes_all():
    calls = []

    class Recorder:
        def __init__(self, name, fails=False):
            self.name, self.fails = name, fails

        def write(self, step, metrics, media=None):
            calls.append((self.name, step, dict(metrics)))

        def episode(self, step, summary):
            calls.append((self.name, "episode", step))

        def summary(self, values):
            calls.append((self.name, "summary"))

        def close(self):
            calls.append((self.name, "close"))
            if self.fails:
                raise UserError("full")

    sink = MultiSink([Recorder("a", fails=True), Recorder("b")])
    sink.write(1, {"x": 2.0})
    sink.episode(2, {})
    sink.summary({})
    with pytest.raises(UserError, match="full"):
        sink.close()
    assert calls[:2] == [("a", 1, {"x": 2.0}), ("b", 1, {"x": 2.0})]
    assert calls[-2:] == [("a", "close"), ("b", "close")]


LOG = [(0, "start"), (0, "offline"), (4, "episode"), (4, "episode"), (4, "loss"), (4, "evaluation/return")]


def test_the_last_evaluation_is_cut_for_it_is_made_again(tmp_path):
    sink = JsonlSink(tmp_path)
    for step, name in LOG:
        sink.write(step, {name: 1, "updates": 3})
    sink.close()
    truncate_after(tmp_path, 4, updates=3)
    assert [list(line)[1] for line in lines(tmp_path / "metrics.jsonl")] == [name for _, name in LOG[:-1]]
