"""Explorers of the hub, from a stand-in on this machine, fetched by the hub's own package."""

import json
import os
import subprocess
import sys

import pytest

from expedition import UserError
from experiments.sharing.export import export
from tests.experiments.sharing.hub_server import COMMIT, Hub
from training.storage.hub import located

ASK = """
import json, sys
from expedition import UserError
from training.storage.hub import located
for source in sys.argv[1:]:
    try:
        print(json.dumps(str(located(source))))
    except UserError as error:
        print(json.dumps("refused: " + str(error)))
"""


@pytest.fixture(scope="module")
def hub(pretrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    export(pretrained, folder / "explorer")
    (folder / "explorer" / "evil.py").write_text("raise SystemExit")
    (folder / "explorer" / "weights.pkl").write_bytes(b"\x80")
    export(pretrained, folder / "changed")
    config = folder / "changed" / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    (folder / "other").mkdir()
    (folder / "other" / "model.safetensors").write_bytes(b"\0" * 100)
    served = {name: folder / name for name in ("explorer", "changed", "other")}
    hub = Hub({f"me/{name}": path for name, path in served.items()} | {"me/gated": None})
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the hub's package keeps its cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def python(hub, home):
    """Run Python with arguments against the stand-in; returns the finished process."""

    def run(*arguments, url=hub.url):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def ask(python):
    """Locate sources: the folder of each, or the sentence with which it is refused."""

    def run(*sources, **options):
        found = python("-c", ASK, *sources, **options)
        assert found.returncode == 0, found.stderr
        return [json.loads(line) for line in found.stdout.splitlines()]

    return run


def test_fine_tuning_from_the_hub(python, hub, home, pretrained, tmp_path):
    flags = ("--steps", 40, "--wandb", "off", "--out", tmp_path / "run")
    command = ("-m", "experiments.command_line.cli", "finetune", "--from")
    found = python(*command, "hf:me/explorer", *flags)
    assert found.returncode == 0, found.stderr
    # The very run that the folder itself would give.
    again = python(*command, pretrained, *flags)
    assert "finished already" in again.stderr
    source = json.loads((tmp_path / "run" / "transfer.json").read_text())["source"]
    assert source["folder"] == f"hf:me/explorer@{COMMIT}"  # and no path of this machine's cache
    assert {path.rpartition(".")[2] for path in hub.fetched} == {"json", "safetensors"}  # and no code


def test_what_the_hub_does_not_have_gets_one_sentence(ask, hub):
    before = len(hub.fetched)
    sources = ("me/explorer@nope", "me/none", "me/gated", "me/other", "me", "-me/..x", "me/changed")
    revision, none, gated, other, name, invalid, changed = ask(*(f"hf:{source}" for source in sources))
    assert "'me/explorer' of the hub has no revision 'nope'" in revision
    assert "shows no repository 'me/none'" in none
    assert "shows no repository 'me/gated'" in gated
    assert "log in with `hf auth login`" in gated
    assert "'me/other' of the hub holds no export.json" in other
    assert "'hf:me' names no repository: write hf:OWNER/NAME" in name
    assert "cannot have a repository '-me/..x'" in invalid
    assert "config.json is not the file that was exported" in changed
    told = (revision, none, gated, other, name, invalid, changed)
    assert all(text.startswith("refused: ") and "\n" not in text and text.endswith(".") for text in told)
    assert "model.safetensors" not in hub.fetched[before:]  # told before anything is fetched


def test_without_the_hub_its_cache_is_used(ask, hub):
    assert ask("hf:me/explorer", "hf:me/explorer@v1")[0].endswith(COMMIT)
    with_cache, without = ask("hf:me/explorer", "hf:me/fresh", url="http://127.0.0.1:9")
    assert with_cache.endswith(COMMIT)
    assert without.startswith("refused: 'hf:me/fresh' cannot be fetched from the hub (")
    assert "no whole copy is in its cache: try again when the hub can be reached." in without


def test_without_its_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs a package: pip install 'expedition\[hub\]'\."):
        located("hf:me/unfetched")
