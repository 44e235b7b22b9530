"""The names that `import expedition` offers: few, documented, typed, and cheap until they are used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import expedition

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("agents", "envs", "expedition", "experiments", "exploration", "training", "transfer", "world_model")


def stub():
    """Names that the stub declares."""
    tree = ast.parse((ROOT / "expedition" / "__init__.pyi").read_text())
    found = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    return found + [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)]


def documented():
    """Names in the first column of the table of docs/library.md."""
    text = (ROOT / "docs" / "library.md").read_text()
    return re.findall(r"^\| `(\w+)", text, re.M)


def test_names_are_those_of_stub_and_documents():
    assert dir(expedition) == sorted(expedition.__all__) == sorted(stub())
    assert sorted(documented()) == sorted(set(expedition.__all__) - {"__version__"})


@pytest.mark.parametrize("name", expedition.__all__)
def test_each_is_there(name):
    found = getattr(expedition, name)
    assert name == "__version__" or found.__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'expedition' has no attribute 'laod'"):
        _ = expedition.laod


def test_importing_it_is_cheap():
    code = "import expedition, sys; print([n for n in ('torch', 'numpy', 'training') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ROOMS)
def test_types_are_offered(room):
    assert (ROOT / room / "py.typed").is_file()
    assert "\n[options.package_data]\n* = py.typed, *.pyi\n" in (ROOT / "setup.cfg").read_text()
