"""A run written for others: read like the run's own, with a card that tells what its files say."""

import hashlib
import json
import shutil

import pytest
import yaml
from safetensors.numpy import load_file

from expedition import UserError
from experiments.sharing.export import export
from training import open_checkpoint, read_config
from training.storage.folder import claim_folder
from transfer.loader import open_source


@pytest.fixture(scope="session")
def exported(pretrained, tmp_path_factory):
    """The pre-training run as it is shared; nobody writes to it."""
    folder = tmp_path_factory.mktemp("exported") / "explorer"
    export(pretrained, folder)
    return folder


@pytest.fixture
def copy(exported, tmp_path):
    """The same, to be damaged."""
    return shutil.copytree(exported, tmp_path / "copy")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card(folder):
    """Front matter and text of a model card."""
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), text


def test_the_components_are_the_runs_and_nothing_else_of_it_is_there(exported, pretrained):
    (ours,) = exported.glob("checkpoint-*")
    theirs = pretrained / ours.name
    components = {"encoder", "dynamics", "decoder", "reward", "continue", "actor", "critic", "normalizers"}
    assert {path.stem for path in ours.glob("*.safetensors")} == components | {"intrinsic"}
    for name in components:
        mine, other = (load_file(folder / f"{name}.safetensors") for folder in (ours, theirs))
        assert mine.keys() == other.keys()
        assert all((mine[key] == other[key]).all() for key in mine)
    assert {path.name for path in exported.iterdir()} == {
        *("README.md", "LICENSE", "config.json", "result.json", "export.json", ours.name)
    }
    assert {p.suffix for p in exported.rglob("*") if p.is_file()} == {".md", "", ".json", ".safetensors"}


def test_every_file_that_is_read_has_its_hash(exported):
    record = json.loads((exported / "export.json").read_text())["files"]
    (checkpoint,) = exported.glob("checkpoint-*")
    manifest = json.loads((checkpoint / "manifest.json").read_text())["files"]
    hashed = {exported / name: entry for name, entry in record.items()}
    hashed |= {checkpoint / name: entry for name, entry in manifest.items()}
    assert set(hashed) == {p for p in exported.rglob("*.*") if p.suffix in (".json", ".safetensors")} - {
        exported / "export.json"
    }
    assert all(sha256(path) == entry["sha256"] for path, entry in hashed.items())


def test_it_is_the_same_source_as_the_run(exported, pretrained):
    ours, theirs = open_source(exported), open_source(pretrained)
    assert ours.identity == theirs.identity
    assert ours.config == theirs.config == read_config(pretrained)
    for section in ours.checkpoint.sections:
        assert ours.checkpoint.section_hash(section) == theirs.checkpoint.section_hash(section)


def test_fine_tuning_from_it_is_fine_tuning_from_the_run(cli, exported, pretrained, tmp_path):
    for name, source in (("one", exported), ("other", pretrained)):
        flags = ("--from", source, "--steps", 40, "--wandb", "off", "--out", tmp_path / name)
        assert cli("finetune", *flags)[0] == 0
    returns = [json.loads((tmp_path / n / "result.json").read_text())["metrics"] for n in ("one", "other")]
    assert returns[0] == returns[1]
    code, _, err = cli("finetune", "--from", exported, "--steps", 40, "--out", tmp_path / "other")
    assert code == 0  # it is the same run
    assert "finished already" in err


def test_the_card_tells_what_the_files_say(exported):
    head, text = card(exported)
    assert (head["license"], head["library_name"]) == ("mit", "expedition")
    assert {"world-model", "exploration", "disagreement", "catch-vector"} <= set(head["tags"])
    result = json.loads((exported / "result.json").read_text())
    told = ("| environment steps | 64 |", "| seed | 0 |", f"| parameters | {result['parameters']:,} |")
    entropy = result["metrics"]["particle_entropy"]
    for line in (*told, f"| entropy (of particles) | {entropy:.4g} |"):
        assert line in text
    assert "study's figures" not in text
    assert (exported / "LICENSE").read_text().startswith("MIT License")


def test_the_card_of_a_studys_run_has_its_figures(studied, tmp_path):
    folder = studied[0]
    (run,) = folder.glob("pretrain-s0-*")
    export(run, tmp_path / "out")
    _, text = card(tmp_path / "out")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["answer"]["sentence"] in text
    assert "![What the study measured](study.png)" in text
    assert sha256(tmp_path / "out" / "study.png") == sha256(folder / "report.png")
    for condition, row in summary["conditions"].items():
        assert any(line.startswith(condition) for line in text.splitlines()), row
    written = [p.read_text() for p in (tmp_path / "out").rglob("*") if p.suffix in (".json", ".md")]
    assert not [text for text in written if str(folder) in text]  # nobody's paths are published


def test_a_run_of_phase_2_tells_where_it_comes_from_without_paths(cli, pretrained, tmp_path):
    flags = ("--from", pretrained, "--steps", 40, "--wandb", "off", "--out", tmp_path / "run")
    assert cli("finetune", *flags)[0] == 0
    assert cli("export", tmp_path / "run", tmp_path / "out")[0] == 0
    origin = json.loads((tmp_path / "out" / "transfer.json").read_text())
    whole = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert whole["source"].pop("folder") == str(pretrained.resolve())
    assert origin == whole
    _, text = card(tmp_path / "out")
    assert "expedition finetune" not in text  # which takes explorers alone
    assert open_checkpoint(tmp_path / "out").step == 40


def test_an_earlier_checkpoint_and_the_replay(cli, small, tmp_path, monkeypatch):
    monkeypatch.setattr("training.storage.replay._CHUNK_ROWS", 8)  # chunks lie beside the checkpoint
    command = ("pretrain", "--config", small, "--wandb", "off", "--training.checkpoint-seconds", 0)
    assert cli(*command, "--steps", 40, "--out", tmp_path / "run")[0] == 0
    first, last = sorted((tmp_path / "run").glob("checkpoint-*"))
    assert cli("export", first, tmp_path / "first")[0] == 0
    assert open_checkpoint(tmp_path / "first").path.name == first.name
    assert not (tmp_path / "first" / "result.json").exists()  # it tells of the last step
    assert cli("export", tmp_path / "run", tmp_path / "last", "--replay")[0] == 0
    checkpoint = open_checkpoint(tmp_path / "last")
    assert checkpoint.path.name == last.name
    assert checkpoint.whole_files()
    assert {path.name for path in checkpoint.whole_files()} == {
        path.name for path in open_checkpoint(tmp_path / "run").whole_files()
    }
    flags = ("--plan", "replay", "--steps", 8, "--wandb", "off", "--out", tmp_path / "tuned")
    assert cli("finetune", "--from", tmp_path / "last", *flags)[0] == 0


def test_what_was_changed_is_refused(copy, refused):
    (copy / "README.md").write_text("mine")
    (copy / "LICENSE").write_text("mine")
    open_source(copy)  # card and licence are their exporter's
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace('"seed": 0', '"seed": 1'))
    told = refused("finetune", "--from", copy, "--steps", 40)
    assert "config.json is not the file that was exported: export it again, or fetch it again." in told
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match="config.json is not the file that was exported"):
        open_source(copy)
    record = json.loads((copy / "export.json").read_text())
    record["files"] = {"../other.json": record["files"]["config.json"]}
    (copy / "export.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"export.json has been changed"):
        open_source(copy)
    (copy / "export.json").write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(UserError, match="has format 2, this version reads 1"):
        open_source(copy)


def test_an_exported_explorer_learns_no_further(copy, pretrained, cli, small, refused):
    more = ("pretrain", "--config", small, "--steps", 80, "--wandb", "off", "--out", copy)
    assert "holds an exported explorer, which learns no further" in refused(*more)
    assert (copy / "result.json").exists()
    with pytest.raises(UserError, match="learns no further"):
        claim_folder(copy, json.loads((pretrained / "config.json").read_text()))


def test_what_cannot_be_exported_gets_one_sentence(refused, pretrained, exported, studied, tmp_path):
    assert "There is no checkpoint at" in refused("export", tmp_path / "nowhere", tmp_path / "out")
    assert "is not empty: choose another folder" in refused("export", pretrained, exported)
    (tmp_path / "file").write_text("")
    assert "is not empty: choose another folder" in refused("export", pretrained, tmp_path / "file")
    (random,) = studied[0].glob("random-policy-s0-*")
    assert "holds no checkpoint" in refused("export", random, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_export_leaves_nothing(copy, tmp_path):
    (torn,) = copy.glob("checkpoint-*/actor.safetensors")
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(UserError, match="Cannot read 'actor'"):
        export(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()
