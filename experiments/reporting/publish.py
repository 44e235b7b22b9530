"""A finished study's report: files in its folder, and a W&B run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.reporting.closing import closing
from experiments.reporting.drawing.figure import draw_report
from experiments.reporting.metrics import metric_of
from experiments.reporting.page.page import write_page
from experiments.reporting.records import StudyRecord, read_study
from experiments.reporting.report import write_report
from experiments.reporting.summary import COLUMNS, csv_rows
from training import Logistics
from training.logging.artifacts import Artifact
from training.logging.wandb_run import WandbRun, medium
from training.logging.wandb_sink import wandb_id

KINDS = {
    "condition": "conditions",
    "contribution": "contributions",
    "contrast": "contrasts",
    "pretraining": "pretraining",
}
"""Kind of a row in W&B's table -> its key in the summary."""
FILES = ("report.html", "report.txt", "report.png", "summary.json", "contributions.csv")
SUMMARY_COLUMNS = ("kind", "name", "metric", "mean", "iqm", "low", "high", "iqm_low", "iqm_high", "n")
CHARTED = ("return", "normalised_return", "success_rate", "auc", "steps_saved", "crafter_score")


def publish(folder: Path, logistics: Logistics | None) -> str:
    """Write report.html, its figures, report.txt, report.png, summary.json and contributions.csv.

    They are logged to W&B too.

    Args:
        folder: the study's.
        logistics: how to log; None leaves W&B out.

    Returns:
        What the terminal shows: the answer, a compact table, and where the rest is.

    Raises:
        UserError: no study there, or no finished fine-tuning run.
    """
    study = read_study(folder)
    summary = write_report(study, study.wall_seconds)
    picture = draw_report(study, folder / "report.png")
    write_page(study, summary)
    if logistics is not None and logistics.wandb != "off":
        _log(study, summary, picture, logistics)
    return closing(summary, folder)


def _log(study: StudyRecord, summary: Mapping[str, Any], picture: Path, logistics: Logistics) -> None:
    """Log tables, charts, the figure and the report's files as a run `report` in the study's group."""
    folder = study.folder / "report"
    run = WandbRun(
        folder,
        project=logistics.project,
        group=logistics.group,
        name=f"{study.name} report",
        run_id=wandb_id(folder),
        job_type="report",
        tags=["report"],
        config={"command": study.command, "version": study.version},
        mode=logistics.wandb,
    )
    run.log(0, lambda: {"report": medium(picture)})
    run.artifact(report_artifact(study.folder))
    run.summary({f"answer/{name}": value for name, value in summary["answer"].items()})
    run.table("summary", SUMMARY_COLUMNS, summary_rows(summary))
    run.table("contributions", COLUMNS, [[r.get(c) for c in COLUMNS] for r in csv_rows(study, summary)])
    for measure in CHARTED:
        worth = {name: row[measure] for name, row in summary["contributions"].items() if measure in row}
        if worth:
            bars = [[name, *(cell[key] for key in ("mean", "low", "high"))] for name, cell in worth.items()]
            columns = ["effect", "worth", "low", "high"]
            run.bars(f"worth/{measure}", columns, bars, f"What was it worth: {metric_of(measure).label}")
    for measure, profile in summary["profiles"].items():
        shares = {name: [p["value"] for p in row] for name, row in profile["conditions"].items()}
        run.lines(f"profile/{measure}", profile["thresholds"], shares, "Share of runs above", measure)
    run.close()


def report_artifact(folder: Path) -> Artifact:
    """The report's files of a study, those that there are, as one artifact."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in folder.resolve().name)
    files = {name: folder / name for name in FILES if (folder / name).exists()}
    return Artifact(f"report-{name[:100]}", "report", files, {})


def summary_rows(summary: Mapping[str, Any]) -> list[list[Any]]:
    """Return the summary's estimates as rows of `SUMMARY_COLUMNS`."""
    return [
        [kind, name, metric, *(values[key] for key in SUMMARY_COLUMNS[3:])]
        for kind, table in KINDS.items()
        for name, metrics in summary[table].items()
        for metric, values in metrics.items()
    ]
