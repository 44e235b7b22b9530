"""The rules of the house that a tool for lint or types does not know."""

import ast
import collections
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "expedition",
    "envs",
    "world_model",
    "exploration",
    "agents",
    "training",
    "transfer",
    "experiments",
)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]
EACH = pytest.mark.parametrize("path", FILES, ids=NAMES)

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "torch.save", "torch.load", "np.load", "numpy.load"}
PRINTS = {"experiments/command_line/cli.py", "experiments/command_line/looking.py"}


def called(node):
    """Name of what a call calls, as it is written: `torch.load`."""
    return ast.unparse(node.func)


def offences(source, name="a.py"):
    """What breaks the rules in one file, as text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [alias.name for alias in node.names] if module is None else [module]
            found += [f"imports {n}" for n in names if n.split(".")[0] in UNSAFE_MODULES]
        if isinstance(node, ast.Call) and called(node) in UNSAFE_CALLS:
            found.append(f"calls {called(node)}")
        if isinstance(node, ast.Call) and called(node) == "print" and name not in PRINTS:
            found.append("prints")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append("has a bare except")
    return found


def undocumented(source):
    """Public classes and functions without a docstring; overloads and nested functions need none."""
    found = []

    def visit(body, prefix):
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                found.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    visit(ast.parse(source).body, "")
    return found


def test_there_is_something_to_look_at():
    assert len(FILES) > 40
    assert {name.split("/")[0] for name in NAMES} == set(PACKAGES)


@EACH
def test_no_pickle_no_eval_no_print_no_bare_except(path):
    assert offences(path.read_text(), path.relative_to(ROOT).as_posix()) == []


@EACH
def test_files_fit_a_head(path):
    assert len(path.read_text().splitlines()) <= 400


def crowded(folders):
    """Folders of more than a dozen Python files: they want rooms of their own."""
    return [folder for folder, held in folders.items() if held > 12]


def test_folders_fit_a_head():
    held = collections.Counter(
        path.parent.relative_to(ROOT).as_posix()
        for room in (*PACKAGES, "benchmarks", "examples", "tests")
        for path in (ROOT / room).rglob("*.py")
    )
    assert crowded(held) == []
    assert crowded({"tests": 13, "agents": 12}) == ["tests"]


@EACH
def test_what_is_public_is_documented(path):
    source = path.read_text()
    assert undocumented(source) == []
    assert ast.get_docstring(ast.parse(source))


def test_packages_are_those_that_are_installed():
    text = (ROOT / "setup.cfg").read_text()
    listed = re.search(r"^packages =\n((?:    \S+\n)+)", text, re.M).group(1).split()
    found = [path.parent for room in PACKAGES for path in (ROOT / room).rglob("__init__.py")]
    assert sorted(listed) == sorted(".".join(folder.relative_to(ROOT).parts) for folder in found)


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import pickle", "imports pickle"),
        ("from pickle import loads", "imports pickle"),
        ("import torch\ntorch.load('x')", "calls torch.load"),
        ("torch.save({}, 'x')", "calls torch.save"),
        ("x = eval('1')", "calls eval"),
        ("print('x')", "prints"),
        ("try:\n    x\nexcept:\n    pass", "has a bare except"),
    ],
)
def test_the_rules_can_be_broken(source, offence):
    assert offences(source) == [offence]


def test_a_missing_docstring_is_found():
    assert undocumented("def f(): pass\nclass A:\n    def g(self): pass\n    def _h(self): pass") == [
        "f",
        "A",
        "A.g",
    ]
    assert undocumented('def f():\n    """Do."""\ndef _g(): pass') == []
