"""The report in the study's folder and at W&B."""

import json

import pytest

from expedition import UserError
from experiments.reporting.publish import publish
from experiments.reporting.summary import COLUMNS
from training import Logistics


def test_files_and_table_agree(write_study, tmp_path):
    folder = write_study(tmp_path, films=False)
    told = publish(folder, None)
    summary = json.loads((folder / "summary.json").read_text())
    assert told.splitlines()[-1] == str(folder)
    assert " ".join(told.split("\n\n")[0].split()) == summary["answer"]["sentence"]
    assert (folder / "report.txt").read_text().startswith(told.split("\n\n")[0])
    assert (folder / "report.png").stat().st_size > 10_000
    assert (folder / "report.html").stat().st_size > 10_000
    assert summary["conditions"]
    assert not (folder / "report").exists()  # nothing for W&B


def test_wandb_off_leaves_it_out(write_study, tmp_path, no_page):
    folder = write_study(tmp_path, films=False)
    publish(folder, Logistics(wandb="off"))
    assert not (folder / "report").exists()


def test_the_report_run_holds_table_and_figure(write_study, tmp_path, wandb_runs, no_page):
    folder = write_study(tmp_path, seeds=(0, 1), films=False)
    (folder / "report.html").write_text("<html></html>")
    for _ in range(2):  # a study that is finished reports again, in the place of the first time
        publish(folder, Logistics(wandb="offline", project="atlas", group="quickstart"))
    (found,) = wandb_runs(folder / "report")
    assert found.run.job_type == "report"
    (artifact,) = [artifact for artifact in found.artifacts if artifact.type == "report"]
    held = {entry.path for entry in artifact.manifest.contents}
    assert held == {"report.html", "report.txt", "report.png", "summary.json", "contributions.csv"}
    assert found.run.display_name == "quickstart report"
    assert (found.run.project, found.run.run_group) == ("atlas", "quickstart")
    assert list(found.run.tags) == ["report"]
    assert {"summary", "contributions", "worth", "profile", "report"} <= {
        key.split("/")[0] for key in found.keys
    }
    tables = [json.loads(p.read_text()) for p in found.folder.glob("files/media/table/**/*.json")]
    (table,) = [table for table in tables if table["columns"][0] == "kind"]
    assert table["columns"][3:] == ["mean", "iqm", "low", "high", "iqm_low", "iqm_high", "n"]
    assert any(table["columns"] == list(COLUMNS) for table in tables)
    summary = json.loads((folder / "summary.json").read_text())
    for kind in ("conditions", "contributions"):
        for name, metrics in summary[kind].items():
            for metric, value in metrics.items():
                (row,) = [r for r in table["data"] if r[:3] == [kind[:-1], name, metric]]
                assert row[3:] == pytest.approx([value[key] for key in table["columns"][3:]])


def test_no_study_no_report(tmp_path):
    with pytest.raises(UserError, match="There is no study"):
        publish(tmp_path / "none", None)
