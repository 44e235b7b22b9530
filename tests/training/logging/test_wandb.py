"""W&B offline: real runs, whose files are read back by W&B's own reader."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import wandb
from wandb.util import get_core_path

from expedition.errors import UserError
from training.logging import wandb_run
from training.logging.artifacts import Artifact
from training.logging.media import write_gif, write_png
from training.logging.sinks import JsonlSink, MultiSink, truncate_after
from training.logging.wandb_file import cut_torn_end, read_records
from training.logging.wandb_login import has_credentials, resolve_wandb_mode
from training.logging.wandb_run import WandbRun, offline_parts
from training.logging.wandb_sink import WandbSink, wandb_id

WHAT = {"project": "p", "run_id": "abc", "mode": "offline"}


@pytest.fixture(autouse=True)
def _nobody_logged_in(monkeypatch, tmp_path):
    for name in ("MODE", "API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL", "DIR", "RUN_ID", "SWEEP_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):  # a run sets them; undone after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(wandb_run, "_folders", {})
    monkeypatch.setenv("HOME", "/proc/nowhere")  # cannot be written to, even by root
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


def inspected(path):
    """Records of a .wandb file by `wandb leet inspect`, which is W&B's own reader (none is in Python)."""
    for _ in range(200):  # W&B's service may still be flushing the file when `finish` returns
        command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
        command += ["--run-file", str(path), str(path.parents[1])]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        records = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        if any(record["type"] == "exit" for record in records):
            return records
        time.sleep(0.05)
    raise AssertionError(f"{path} was never finished")


def history(path):
    return [record["history"]["item"] for record in inspected(path) if record["type"] == "history"]


def open_sink(folder, **changes):
    return WandbSink(WandbRun(folder, **{**WHAT, **changes}))


def both(folder):
    """The two sinks of a run, as `open_sinks` makes them."""
    return MultiSink([JsonlSink(folder), open_sink(folder)])


def curve(path):
    return [(row["_step"], row["env_step"], row.get("x", row.get("episode/return"))) for row in history(path)]


def test_wandb_modes(monkeypatch):
    assert resolve_wandb_mode("auto") == "offline"
    assert [resolve_wandb_mode(mode) for mode in ("off", "offline", "online")] == ["off", "offline", "online"]
    with pytest.raises(UserError, match="did you mean offline"):
        resolve_wandb_mode("ofline")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_wandb_mode("auto") == "off"
    assert resolve_wandb_mode("offline") == "offline", "what the user typed stands"


def test_wandb_credentials_are_found_where_wandb_keeps_them(tmp_path):
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


def test_online_without_a_key_is_refused_unasked(tmp_path):
    with pytest.raises(UserError, match="--wandb off"):
        WandbRun(tmp_path, project="p", mode="online")


def test_what_does_not_start_proposes_off(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="--wandb off"):
        WandbRun(tmp_path / "run", **WHAT)


def test_off_does_nothing(tmp_path):
    sink = open_sink(tmp_path, mode="off")
    sink.write(1, {"x": 1})
    sink.episode(1, {"return": 1})
    sink.artifact(Artifact("a", "b", {}, {}))
    sink.run.table("t", ["a"], [[1]])
    sink.summary({"a": 1})
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_an_offline_run_is_a_real_one(tmp_path, monkeypatch, capfd):
    folder, elsewhere = tmp_path / "run", tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    image = np.zeros((8, 8, 3), np.uint8)
    write_gif(folder / "media" / "v.gif", np.stack([image, image + 9]), 5)
    write_png(folder / "media" / "i.png", image)
    what = {"group": "study", "name": "n", "tags": ["scratch"], "job_type": "finetune", "mode": "auto"}
    sink = open_sink(folder, **what, config={"size": "tiny", "path": tmp_path})
    sink.write(10, {"loss": 1.5})
    sink.write(10, {}, {"video": folder / "media" / "v.gif", "image": folder / "media" / "i.png"})
    sink.episode(20, {"return": 2.0, "unlocked": {"wood": 1}})
    sink.run.table("conditions", ["plan", "return"], [["scratch", 1.0], ["model", None]])
    sink.summary({"score": 3.5})
    sink.close()
    sink.close()

    (path,) = offline_parts(folder)
    records = inspected(path)
    run = next(record["run"] for record in records if record["type"] == "run")
    assert (run["project"], run["run_group"], run["display_name"]) == ("p", "study", "n")
    assert (run["tags"], run["job_type"]) == (["scratch"], "finetune")
    rows = history(path)
    assert [(row["env_step"], row.get("loss")) for row in rows[:3]] == [(10, 1.5), (10, None), (20, None)]
    assert (rows[1]["video._type"], rows[1]["image._type"]) == ("video-file", "image-file")
    assert rows[2]["episode/return"] == 2.0
    assert (rows[3]["conditions._type"], rows[3]["conditions.nrows"]) == ("table-file", 2)
    assert list(elsewhere.iterdir()) == []
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def log_some(sink):
    sink.write(0, {"x": 0.5})
    sink.episode(4, {"return": 1.5})
    sink.write(4, {"x": 2.5, "bad": float("nan")})
    sink.episode(6, {"return": 3.5})


def test_a_stopped_run_goes_on_without_a_gap_or_a_double(tmp_path):
    sink = both(tmp_path)
    log_some(sink)
    sink.close()
    truncate_after(tmp_path, 4)  # the checkpoint's step: the second episode is lived again
    sink = both(tmp_path)
    sink.episode(6, {"return": 3.5})
    sink.write(8, {"x": 4.5})
    sink.close()
    (path,) = offline_parts(tmp_path)
    assert curve(path) == [(0, 0, 0.5), (1, 4, 1.5), (2, 4, 2.5), (3, 6, 3.5), (4, 8, 4.5)]


def test_what_was_logged_without_wandb_is_told_when_it_comes(tmp_path):
    sink = JsonlSink(tmp_path)
    log_some(sink)
    sink.close()
    sink = both(tmp_path)
    sink.write(8, {"x": 4.5})
    sink.close()
    (path,) = offline_parts(tmp_path)
    assert [row[1] for row in curve(path)] == [0, 4, 4, 6, 8]


KILLED = """
import sys
from pathlib import Path
from training.logging.sinks import JsonlSink, MultiSink
from training.logging.wandb_run import WandbRun
from training.logging.wandb_sink import WandbSink
folder = Path(sys.argv[1])
run = WandbRun(folder, project="p", run_id="abc", mode="offline")
sink = MultiSink([JsonlSink(folder), WandbSink(run)])
for step in range(200):
    sink.write(step, {"x": step, "name": 0.123456789})
print("logged", flush=True)
sys.stdin.read()
"""


def test_a_killed_run_loses_nothing(tmp_path):
    """W&B's service may drop what it has not written when the run's process is gone."""
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # this process's
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=alone)
    assert process.stdout.readline() == b"logged\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (path,) = offline_parts(tmp_path)
    os.truncate(path, min(5000, path.stat().st_size))  # as a power cut does: amid a record, far from the end
    truncate_after(tmp_path, 150)
    sink = both(tmp_path)
    for step in range(151, 203):
        sink.write(step, {"x": step})
    sink.close()
    (path,) = offline_parts(tmp_path)
    assert curve(path) == [(step, step, step) for step in range(203)]


@pytest.mark.parametrize("mark", ["synced", "syncstate"])
def test_rows_that_were_sent_are_not_logged_again(tmp_path, mark):
    sink = both(tmp_path)
    log_some(sink)
    sink.close()
    (first,) = offline_parts(tmp_path)
    inspected(first)  # it is whole
    first.with_name(f"{first.name}.{mark}").write_text("{}")  # what `wandb sync` leaves
    truncate_after(tmp_path, 4)
    sink = both(tmp_path)
    sink.episode(6, {"return": 3.5})
    sink.write(8, {"x": 4.5})
    sink.close()
    (second,) = [path for path in tmp_path.glob("wandb/offline-run-*/*.wandb") if path != first]
    assert curve(first)[-1] == (3, 6, 3.5)
    assert curve(second) == [(4, 8, 4.5)]


def test_our_reader_agrees_with_wandbs_over_several_blocks(tmp_path):
    run = WandbRun(tmp_path, **WHAT)
    for step in range(300):
        run.log(step, lambda step=step: {"x": step / 3, "text": "y" * (step % 97)})
    run.log(300, lambda: {"text": "z" * 70_000})  # a record of three blocks
    run.close()
    (path,) = offline_parts(tmp_path)
    theirs = inspected(path)
    assert path.stat().st_size > 3 * 32768
    assert [record.num for record, _ in read_records(path)] == [record["num"] for record in theirs]
    assert list(read_records(path))[-1][1] == path.stat().st_size


def test_a_torn_end_is_cut_and_nothing_else(tmp_path):
    run = WandbRun(tmp_path, **WHAT)
    for step in range(5):
        run.log(step, lambda: {"x": 1})
    run.close()
    (path,) = offline_parts(tmp_path)
    inspected(path)
    ends = [end for _, end in read_records(path)]
    cut_torn_end(path)
    assert path.stat().st_size == ends[-1]
    os.truncate(path, ends[-2] + 9)
    cut_torn_end(path)
    assert path.stat().st_size == ends[-2]


@pytest.mark.parametrize("kept", [False, True])
def test_who_makes_an_artifact_and_who_uses_it_name_the_same(tmp_path, kept):
    (tmp_path / "manifest.json").write_text("{}")
    artifact = Artifact(
        "pretrained-x", "checkpoint", {"m.json": tmp_path / "manifest.json"}, {"step": 3}, kept
    )
    for name, used in (("maker", False), ("user", True)):
        sink = open_sink(tmp_path / name)
        sink.artifact(artifact, used)
        sink.close()
    (maker,), (user,) = (
        [
            record.artifact
            for record, _ in read_records(path)
            if record.WhichOneof("record_type") == "artifact"
        ]
        for name in ("maker", "user")
        for path in offline_parts(tmp_path / name)
        if inspected(path)
    )
    assert maker.name == user.name == "pretrained-x"
    assert maker.digest == user.digest
    assert (maker.user_created, maker.use_after_commit) == (False, False)  # the run is its maker
    assert (user.user_created, user.use_after_commit) == (True, True)  # it is an input, by whoever made it
    lies = maker.manifest.contents[0].local_path
    assert (lies == str(tmp_path / "manifest.json")) == kept  # else copied: it may change before it is sent


def test_a_sweeps_agent_gives_the_id(tmp_path, monkeypatch):
    assert wandb_id(tmp_path) == wandb_id(tmp_path)
    monkeypatch.setenv("WANDB_RUN_ID", "swept")
    assert wandb_id(tmp_path) != "swept"  # no sweep
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert wandb_id(tmp_path) == "swept"
    monkeypatch.delenv("WANDB_SWEEP_ID")
    assert wandb_id(tmp_path) == "swept"  # the run goes on by itself


def test_auto_goes_offline_where_the_server_is_out_of_reach(tmp_path, monkeypatch, caplog, capfd, request):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(wandb_run, "_START_SECONDS", 1.0)
    wandb.teardown()  # what earlier tests have set up knows another server
    request.addfinalizer(wandb.teardown)
    with pytest.raises(UserError, match="--wandb off"):
        open_sink(tmp_path, mode="online")
    sink = open_sink(tmp_path, mode="auto")
    sink.write(1, {"x": 2.0})
    sink.close()
    assert sink.run.mode == "offline"
    assert "expedition sync" in caplog.text
    (path,) = offline_parts(tmp_path)
    assert [row["x"] for row in history(path)] == [2.0]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_failure_on_the_way_does_not_cost_the_run(tmp_path, caplog):
    class Broken:
        def log(self, *args, **kwargs):
            raise BrokenPipeError("service died")

    sink = open_sink(tmp_path, mode="off")
    sink.run._run = Broken()
    sink.write(1, {"x": 1})
    sink.write(2, {"x": 1})
    sink.close()
    assert [record.name for record in caplog.records] == [wandb_run.__name__]
