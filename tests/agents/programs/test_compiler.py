"""Whatever state the compiler and its cache are in, what is compiled is computed all the same."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.programs import compiler

CHILD = """
import torch
from agents.programs.compiler import compiled, missing, one_at_a_time

why = missing("cpu")
print("missing:", why)
with one_at_a_time("square"):
    function = torch.square if why else compiled(torch.square)
    x = torch.full((8,), 3.0, requires_grad=True)
    value = function(x).sum()
    value.backward()
    print("value:", value.item(), "gradient:", float(x.grad.sum()))
"""


def start(cache, **variables):
    """A process that compiles a small function with a cache of its own."""
    # Which vector instructions the C++ compiler knows is not asked again for each cache: seven seconds.
    env = {**os.environ, compiler.CACHE: str(cache), "TORCHINDUCTOR_VEC_ISA_OK": "1", **variables}
    root = Path(compiler.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=root, env=env, stdout=-1, stderr=subprocess.STDOUT, text=True
    )


def ended(process):
    """What it said, of a process that must end well and with the right number."""
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "value: 72.0 gradient: 48.0" in said
    return said


@pytest.fixture
def fresh(monkeypatch):
    """Nothing is known of this machine's compiler, neither before nor after."""
    compiler.missing.cache_clear()
    monkeypatch.setenv(compiler.CACHE, os.environ.get(compiler.CACHE, ""))  # is put back in the end
    yield monkeypatch
    compiler.missing.cache_clear()


def test_a_missing_compiler_is_named(fresh):
    fresh.setenv("CXX", "/nonexistent")
    assert compiler.missing("cpu").startswith("no C++ compiler is found")


def test_a_compiler_that_fails_is_found_out(tmp_path):
    assert "missing: the compiler fails (" in ended(start(tmp_path, CXX="/bin/false"))


def test_the_cache_lies_in_the_users_own(fresh, tmp_path):
    fresh.delenv(compiler.CACHE)
    fresh.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiler.cache_folder().parent == tmp_path / "expedition"
    assert compiler.cache_folder().is_dir()


def test_a_cache_that_cannot_be_written_is_replaced(fresh, tmp_path):
    (tmp_path / "file").touch()
    fresh.setenv(compiler.CACHE, str(tmp_path / "file"))
    folder = compiler.cache_folder()
    assert folder.is_dir()
    assert os.environ[compiler.CACHE] == str(folder)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.usefixtures("compiles")
def test_two_compile_at_once_and_others_find_a_torn_library_and_a_broken_cache(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    assert all("missing: None" in ended(process) for process in both)
    # The gradient's, linked last: what is tried beforehand does not see it.
    os.truncate(max(tmp_path.rglob("*.so"), key=lambda path: path.stat().st_mtime_ns), 0)
    assert "missing: None" in ended(start(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert files
    for path in files:
        os.truncate(path, path.stat().st_size // 2)
    assert "missing: None" in ended(start(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="only ELF files are looked into")
def test_libraries_of_a_killed_linker_are_removed(tmp_path):
    maps = Path("/proc/self/maps").read_text().split()
    whole = Path(next(word for word in maps if ".so" in word)).read_bytes()
    torn = {"empty": b"", "half": whole[: len(whole) // 2], "zeros": bytes(len(whole))}
    for name, content in {"whole": whole, "written": b"", **torn}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.main.so").write_bytes(content)
    with (tmp_path / "written" / "written.main.so").open("wb"):  # as a linker at work holds it
        compiler.remove_torn(tmp_path)
    assert {path.parent.name for path in tmp_path.rglob("*.so")} == {"whole", "written"}
    compiler.remove_torn(tmp_path)
    assert {path.parent.name for path in tmp_path.rglob("*.so")} == {"whole"}


def test_a_cache_that_keeps_the_compiler_from_working_is_left_and_named(fresh, tmp_path, caplog):
    fresh.setenv("CXX", sys.executable)  # something that is found
    fresh.setenv(compiler.CACHE, str(tmp_path))
    broken = {str(tmp_path)}
    fresh.setattr(compiler, "_fails", lambda _: "it fails" if os.environ[compiler.CACHE] in broken else None)
    assert compiler.missing("cpu") is None
    assert os.environ[compiler.CACHE] not in broken
    assert f"cache {tmp_path} is broken" in caplog.text


def test_a_compiler_that_fails_without_the_cache_too_keeps_its_reason(fresh, tmp_path, caplog):
    fresh.setenv("CXX", sys.executable)
    fresh.setenv(compiler.CACHE, str(tmp_path))
    fresh.setattr(compiler, "_fails", lambda _: f"it fails in {os.environ[compiler.CACHE]}")
    assert compiler.missing("cpu") == f"it fails in {tmp_path}"
    assert not caplog.records


def test_nobody_waits_for_ever(fresh, tmp_path):
    fresh.setenv(compiler.CACHE, str(tmp_path))
    fresh.setattr(compiler, "PATIENCE", 0.3)
    with compiler.one_at_a_time("a thing"):
        pass
    (lock,) = tmp_path.glob("*.lock")
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        began = time.monotonic()
        with compiler.one_at_a_time("another"):
            assert time.monotonic() - began < 0.3
        with compiler.one_at_a_time("a thing"):
            assert time.monotonic() - began >= 0.3
