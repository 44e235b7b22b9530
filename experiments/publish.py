"""A finished study's report: files in its folder, and a W&B run of its own."""

from __future__ import annotations

from pathlib import Path

from experiments.figure import draw_report
from experiments.records import StudyRecord, read_study
from experiments.report import summarise, write_report
from training import Logistics
from training.wandb_sink import WandbSink


def publish(folder: Path, logistics: Logistics | None) -> str:
    """Write summary.json, report.txt and report.png, log them to W&B, and return the table.

    Args:
        folder: the study's.
        logistics: how to log; None leaves W&B out.

    Raises:
        UserError: no study there, or no finished fine-tuning run.
    """
    study = read_study(folder)
    table = write_report(study, study.wall_seconds)
    picture = draw_report(study, folder / "report.png")
    if logistics is not None and logistics.wandb != "off":
        _log(study, picture, logistics)
    return f"{table}\nFigure: {picture}"


def _log(study: StudyRecord, picture: Path, logistics: Logistics) -> None:
    """Log the summary table and the figure as a run `report` in the study's group."""
    sink = WandbSink(
        study.folder / "report",
        project=logistics.project,
        group=logistics.group,
        name=f"{study.name} report",
        tags=["report"],
        config={"command": study.command, "version": study.version},
        mode=logistics.wandb,
    )
    summary = summarise(study, study.wall_seconds)
    columns = ["kind", "name", "metric", "mean", "iqm", "low", "high", "n"]
    rows = [
        [kind[:-1], name, metric, *(values[key] for key in columns[3:])]
        for kind in ("conditions", "contributions")
        for name, metrics in summary[kind].items()
        for metric, values in metrics.items()
    ]
    sink.write(0, {}, {"report": picture})
    sink.table("summary", columns, rows)
    sink.close()
