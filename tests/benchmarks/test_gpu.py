"""The GPU check's own logic: limits, the cut, verdicts, and what is written."""

import json
import time

import pytest
import torch

from benchmarks.gpu import __main__ as script
from benchmarks.gpu import runs
from benchmarks.gpu.child import carry_out
from benchmarks.gpu.lines import LINES, Line, NotRun, Options
from benchmarks.gpu.record import Verdict, publish, table, write

CPU = Options("cpu")


class Told(Line):
    """A line that yields parts and then raises, if told to."""

    def measure(self, options):
        yield from self.settings["parts"]
        if "error" in self.settings:
            raise self.settings["error"]


def verdict_of(result, *parts, **error):
    carry_out(Told("one", 9, "", {"parts": parts, **error}), CPU, result)
    return json.loads(result.read_text())


def test_parts_are_gathered_into_a_verdict(tmp_path):
    told = verdict_of(tmp_path / "r", {"a": 1}, {"b": 2.5})
    assert told == {"verdict": "passed", "found": {"a": 1, "b": 2.5}}


def test_what_was_found_before_a_failure_is_kept(tmp_path):
    with pytest.raises(AssertionError):
        verdict_of(tmp_path / "r", {"a": 1}, error=AssertionError("too slow"))
    assert json.loads((tmp_path / "r").read_text()) == {"verdict": "failed", "found": {"a": 1}}


def test_a_line_that_cannot_be_asked_is_not_run(tmp_path):
    told = verdict_of(tmp_path / "r", error=NotRun("no clone"))
    assert told == {"verdict": "not run", "why": "no clone", "found": {}}


CHILDREN = {
    "passes": "publish(result, {'verdict': 'passed', 'found': {'ms': 1.5}})",
    "fails": "publish(result, {'verdict': 'failed', 'found': {'ms': 2.5}}); raise ValueError('not equal')",
    "hangs": "publish(result, {'verdict': 'failed', 'found': {'ms': 3.5}}); time.sleep(60)",
    "crashes": "os.abort()",
    "crashes after it": "publish(result, {'verdict': 'passed', 'found': {}}); os.abort()",
}


@pytest.fixture
def children(monkeypatch):
    """Processes that import no torch stand in for the lines."""
    begin = script.subprocess.Popen

    def popen(command, **settings):
        name, result = command[3], command[5]
        source = "import os, time\nfrom pathlib import Path\nfrom benchmarks.gpu.record import publish\n"
        source += f"result = Path({result!r})\n{CHILDREN[name]}\n"
        return begin([command[0], "-c", source], **settings)

    monkeypatch.setattr(script.subprocess, "Popen", popen)


@pytest.mark.parametrize(
    ("name", "verdict", "why", "found"),
    [
        ("passes", "passed", "", {"ms": 1.5}),
        ("fails", "failed", "ValueError: not equal", {"ms": 2.5}),
        ("hangs", "failed", "stopped after 1 s", {"ms": 3.5}),
        ("crashes", "failed", "it ended without a word", {}),
        ("crashes after it", "failed", "it ended without a word", {}),
    ],
)
def test_a_line_by_how_its_process_ends(name, verdict, why, found, children, tmp_path):
    limit = 1.0 if name == "hangs" else 30.0
    one = script.run_line(Line(name, limit, ""), CPU, limit, tmp_path)
    assert (one.verdict, one.why, one.found) == (verdict, why, found)
    assert one.seconds < 20


def test_a_cut_leaves_the_first_lines(children, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "LEAST", 0.5)
    lines = [Line(name, 1.0, "") for name in ("passes", "hangs", "fails", "passes", "passes")]
    began = time.monotonic()
    script.check(lines, CPU, 1.6, tmp_path)
    assert time.monotonic() - began < 3
    told = json.loads((tmp_path / "gpu_check.json").read_text())
    assert told["rehearsal"]
    verdicts = [line["verdict"] for line in told["lines"]]
    assert verdicts[:2] == ["passed", "failed"]
    assert verdicts[-1] == "not run"
    assert told["lines"][-1]["why"] == "no time left"
    shown = (tmp_path / "gpu_check.txt").read_text()
    assert shown.count("no time left") == verdicts.count("not run")


def test_both_files_are_whole_after_every_line(children, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(script, "write", lambda *given: seen.append(len(given[2])) or write(*given))
    script.check([Line("passes", 30, ""), Line("fails", 30, "")], CPU, 60, tmp_path)
    assert seen == [2, 2, 2]  # every line has a verdict from the first on


def test_a_table_says_verdict_time_name_and_findings():
    shown = table([Verdict("speed", "failed", 2.25, "RuntimeError: no", {"ms": 17.8312, "equal": True})])
    assert shown.splitlines() == [
        "failed     2.2 s  speed  RuntimeError: no",
        "                  ms 17.83, equal True",
    ]


def test_json_is_replaced_whole(tmp_path):
    publish(tmp_path / "a.json", {"one": 1})
    publish(tmp_path / "a.json", {"two": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"two": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_without_a_device_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(script, "has_cuda", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert script.main() == 2
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_lines_have_names_of_their_own_and_the_first_fit_the_time():
    assert len({line.name for line in LINES}) == len(LINES)
    assert sum(line.limit for line in LINES[:6]) < 540


def test_leaves_tell_equal_trees_from_others():
    tree = {"a": [torch.ones(2), 3], "b": {"c": "x"}}
    same = {"a": [torch.ones(2), 3], "b": {"c": "x"}}
    other = {"a": [torch.ones(2, dtype=torch.float64), 3], "b": {"c": "x"}}
    assert dict(runs.leaves(tree)) == dict(runs.leaves(same))
    assert dict(runs.leaves(tree)) != dict(runs.leaves(other))
