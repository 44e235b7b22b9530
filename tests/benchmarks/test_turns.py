"""A revision beside this tree: who works when, and what is made of the times."""

import subprocess

import pytest

from benchmarks.against import turns


class Told:
    """A tree whose work takes the seconds it is told, one block after the other."""

    def __init__(self, log, name, *seconds):
        self.log, self.name, self.seconds = log, name, list(seconds)

    def work(self, count):
        self.log.append((self.name, count))
        return self.seconds.pop(0), 0.0


def test_trees_take_turns_and_the_first_blocks_do_not_count():
    log = []
    trees = {
        "eager": Told(log, "eager", 9, 9, 1, 2, 3),
        "compiled": Told(log, "compiled", 90, 9, 1, 1, 1),
        "old": Told(log, "old", 9, 9, 2, 2, 2),
    }
    found = turns.in_turns(trees, "tiny-vectors", 3)
    assert log[:4] == [(name, 10) for name in ("eager", "compiled", "old", "eager")]
    assert len(log) == 3 * (3 + turns.WARMUP)
    assert [found[f"cpu_seconds {name}"] for name in trees] == [2, 1, 2]
    assert found["ratios eager"] == [0.5, 1.0, 1.5]
    assert found["ratio compiled"] == 0.5
    assert "ratio old" not in found


def test_a_checked_out_tree_is_removed_in_the_end(monkeypatch, tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(turns, "ROOT", tmp_path)
    with turns.checked_out("HEAD") as tree:
        assert (tree / ".git").exists()
    assert not tree.exists()
    with pytest.raises(SystemExit, match="name a commit"), turns.checked_out("nothing"):
        pass


def test_a_process_that_dies_is_told_of(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit(1)")
    monkeypatch.setattr(turns, "CHILD", child)
    with pytest.raises(SystemExit, match="ended before"):
        turns.Tree(tmp_path, "acting", "eager")
