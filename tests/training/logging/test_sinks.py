import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import wandb

from expedition.errors import UserError
from training.logging import wandb_sink
from training.logging.media import write_gif, write_png
from training.logging.sinks import JsonlSink, MultiSink, truncate_after
from training.logging.wandb_sink import WandbSink, has_credentials, resolve_wandb_mode


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def _nobody_logged_in(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):  # the sink sets them; undone after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(wandb_sink, "_folders", {})
    monkeypatch.setenv("HOME", "/proc/nowhere")  # cannot be written to, even by root
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


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


def test_wandb_modes(monkeypatch, tmp_path):
    assert resolve_wandb_mode("auto") == "offline"
    assert [resolve_wandb_mode(mode) for mode in ("off", "offline", "online")] == ["off", "offline", "online"]
    with pytest.raises(UserError, match="did you mean offline"):
        resolve_wandb_mode("ofline")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_wandb_mode("auto") == "off"
    assert resolve_wandb_mode("offline") == "offline", "what the user typed stands"


def test_wandb_credentials_are_found_where_wandb_keeps_them(monkeypatch, tmp_path):
    assert not has_credentials()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password 123\n")
    assert has_credentials()
    (tmp_path / "netrc").write_text("machine api.forge.coreweave.com login user password 123\n")
    assert has_credentials()
    (tmp_path / "wandb-config").mkdir()
    (tmp_path / "wandb-config" / "settings").write_text("[default]\nbase_url = https://wandb.example.org\n")
    assert not has_credentials(), "the key of one server is none for another"
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password 123\n")
    assert has_credentials()


def test_wandb_online_without_a_key_is_refused_unasked(tmp_path):
    with pytest.raises(UserError, match="--wandb off"):
        WandbSink(tmp_path, project="p", mode="online")


def test_wandb_that_does_not_start_proposes_off(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="--wandb off"):
        WandbSink(tmp_path / "run", project="p", mode="offline")


def told(log, cut, known, monkeypatch, folder):
    """What W&B is told by a run that logs, is cut to its first lines, and logs the others again."""
    sink = JsonlSink(folder)
    for step, name in log[:cut]:
        sink.episode(step, {"x": 1}) if name == "episode" else sink.write(step, {name: 1})
    (folder / wandb_sink.LAST_STEP).write_text(json.dumps({"env_step": 0, "row": 7, "line": known}))
    resumed, sent = WandbSink(folder, project="p", mode="off"), []
    monkeypatch.setattr(resumed, "_send", lambda step, values: sent.append((step, *values())))
    for step, name in log[cut:]:
        resumed.episode(step, {"x": 1}) if name == "episode" else resumed.write(step, {name: 1})
    sink.close()
    return sent


LOG = [(0, "start"), (0, "offline"), (4, "episode"), (4, "episode"), (4, "loss"), (4, "evaluation/return")]


@pytest.mark.parametrize("cut", range(len(LOG)))
def test_wandb_is_told_each_line_once_also_of_one_step(tmp_path, monkeypatch, cut):
    """Steps alone would take a line for known whose step another line has."""
    for known in range(cut, len(LOG) + 1):
        folder = tmp_path / str(known)
        sent = told(LOG, cut, known, monkeypatch, folder)
        expected = [(step, "episode/x" if name == "episode" else name) for step, name in LOG[known:]]
        assert sent == expected


def test_the_last_evaluation_is_cut_for_it_is_made_again(tmp_path):
    sink = JsonlSink(tmp_path)
    for step, name in LOG:
        sink.write(step, {name: 1, "updates": 3})
    sink.close()
    truncate_after(tmp_path, 4, updates=3)
    assert [list(line)[1] for line in lines(tmp_path / "metrics.jsonl")] == [name for _, name in LOG[:-1]]


def test_wandb_off_does_nothing(tmp_path):
    sink = WandbSink(tmp_path, project="p", mode="off")
    sink.write(1, {"x": 1})
    sink.episode(1, {"return": 1})
    sink.table("t", ["a"], [[1]])
    sink.summary({"a": 1})
    sink.close()
    assert list(tmp_path.iterdir()) == []


def offline_records(path):
    """Read a .wandb file: seven bytes of header, then blocks of 32 KiB as in LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, []
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):
            return
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(b"".join(parts))
            parts = []


def finished_records(path):
    """W&B's service may still be flushing the file when `finish` returns."""
    for _ in range(200):
        records = list(offline_records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.05)
    raise AssertionError(f"{path} was never finished")


def history(path):
    for record in finished_records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            yield {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}


def run_records(path):
    return [r.run for r in finished_records(path) if r.WhichOneof("record_type") == "run"]


def test_wandb_offline_is_a_real_run_that_resumes(tmp_path, monkeypatch, capfd):
    run_dir, elsewhere = tmp_path / "run", tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    options = {"project": "p", "group": "study", "name": "n", "run_id": "abc", "tags": ["pretrain"]}
    image = np.zeros((8, 8, 3), np.uint8)
    write_gif(run_dir / "media" / "v.gif", np.stack([image, image + 9]), 5)
    write_png(run_dir / "media" / "i.png", image)

    files = JsonlSink(run_dir)
    files.write(10, {"loss": 1.5})  # what the checkpoint, from which the run goes on, has as well
    files.close()
    (run_dir / "metrics.jsonl").rename(tmp_path / "kept")

    sink = WandbSink(run_dir, **options, config={"size": "tiny", "path": tmp_path}, mode="auto")
    sink.write(10, {"loss": 1.5})
    sink.write(10, {}, {"video": run_dir / "media" / "v.gif", "image": run_dir / "media" / "i.png"})
    sink.episode(20, {"return": 2.0, "unlocked": {"wood": 1}})
    sink.table("conditions", ["plan", "return"], [["scratch", 1.0], ["model", None]])
    sink.summary({"score": 3.5})
    sink.close()
    sink.close()

    (tmp_path / "kept").rename(run_dir / "metrics.jsonl")
    resumed = WandbSink(run_dir, **options, mode="offline")
    resumed.write(10, {})  # logged before the kill
    resumed.episode(20, {"return": 2.0})  # this too
    resumed.write(30, {"loss": 0.5})
    resumed.close()

    files = sorted((run_dir / "wandb").glob("offline-run-*/run-abc.wandb"))
    assert len(files) == 2
    first, second = (list(history(path)) for path in files)
    (run,) = run_records(files[0])[:1]
    assert (run.project, run.run_group, run.display_name, list(run.tags)) == ("p", "study", "n", ["pretrain"])
    assert [(row["env_step"], row.get("loss")) for row in first] == [
        (10, 1.5),
        (10, None),
        (20, None),
        (20, None),
    ]
    assert first[1]["video/_type"] == "video-file"
    assert first[1]["image/_type"] == "image-file"
    assert first[2]["episode/return"] == 2.0
    assert first[3]["conditions/nrows"] == 2
    assert [(row["env_step"], row["loss"], row["_step"]) for row in second] == [(30, 0.5, 4)]
    assert list(elsewhere.iterdir()) == []
    assert (run_dir / "media" / "v.gif").exists()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_wandb_auto_goes_offline_where_the_server_is_out_of_reach(
    tmp_path, monkeypatch, caplog, capfd, request
):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(wandb_sink, "_START_SECONDS", 1.0)
    wandb.teardown()  # what earlier tests have set up knows another server
    request.addfinalizer(wandb.teardown)
    with pytest.raises(UserError, match="--wandb off"):
        WandbSink(tmp_path, project="p", run_id="abc", mode="online")
    sink = WandbSink(tmp_path, project="p", run_id="abc", mode="auto")
    sink.write(1, {"x": 2.0})
    sink.close()
    assert sink.mode == "offline"
    assert "wandb sync" in caplog.text
    (file,) = tmp_path.glob("wandb/offline-run-*/run-abc.wandb")
    assert [row["x"] for row in history(file)] == [2.0]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


class NoLog:
    """A run of W&B that takes nothing."""

    step = 0

    def log(self, *args, **kwargs):
        raise BrokenPipeError("service died")


class NoStep(NoLog):
    """A run of W&B that does not say either how far it is."""

    @property
    def step(self):
        raise BrokenPipeError("service died")


@pytest.mark.parametrize("Broken", [NoLog, NoStep])
def test_wandb_that_fails_on_the_way_does_not_cost_the_run(tmp_path, caplog, monkeypatch, Broken):
    left = []
    monkeypatch.setattr(wandb_sink.atexit, "register", left.append)
    monkeypatch.setattr(wandb, "teardown", NoLog().log)
    sink = WandbSink(tmp_path, project="p", mode="off")
    sink._run = Broken()
    sink.write(1, {"x": 1})
    sink.write(2, {"x": 1})
    sink.close()
    assert [record.name for record in caplog.records] == [wandb_sink.__name__]
    (leave,) = left
    leave()  # as the process ends, without a word
