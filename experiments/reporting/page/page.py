"""The report as one HTML page that needs nothing else: no network, no other file, no scripts."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from experiments.reporting.anchors import anchors_for
from experiments.reporting.drawing.marks import colour_of
from experiments.reporting.page.commands import commands
from experiments.reporting.page.figures import Figure, figures
from experiments.reporting.page.files import as_csv, inline, view_box, write_figure
from experiments.reporting.page.findings import findings
from experiments.reporting.page.lineage import Differences, differences, run_graph, state_of
from experiments.reporting.page.tables import tables
from experiments.reporting.records import StudyRecord
from experiments.reporting.report import duration
from training.storage.state_tree import publish_bytes
from transfer.statistics import MIN_SEEDS

PAGE, FIGURES = "report.html", "figures"
"""Of a study's folder."""
TEMPLATES = Path(__file__).parent / "templates"


def write_page(study: StudyRecord, summary: Mapping[str, Any]) -> Path:
    """Write `report.html` and the folder `figures` into the study's folder; return the page's path.

    Args:
        study: what was read from its folder.
        summary: what `summarise` returned for it.

    Raises:
        UserError: the files can't be written.
    """
    found = findings(study, summary)
    drawn = [
        (figure, write_figure(figure, study, study.folder / FIGURES))
        for figure in figures(study, summary, found)
    ]
    page = render(
        "report.html",
        name=study.name,
        version=summary["version"],
        answer=summary["answer"]["sentence"],
        facts=_facts(study, summary),
        findings=found,
        notes=summary["notes"],
        figures=[_figure(figure, svg) for figure, svg in drawn],
        colours={name: colour_of(name, study) for name in study.conditions},
        tables=tables(summary),
        anchors=anchors_for(study.environment) if "crafter_score" in study.suite_metrics else (),
        few=any(cell["n"] < MIN_SEEDS for row in summary["conditions"].values() for cell in row.values()),
        graph=run_graph(study),
        runs=_runs(study),
        settings=_settings(study),
        command=study.command,
        commands=list(commands(study).values()),
    )
    path = study.folder / PAGE
    publish_bytes(path, page.encode())
    return path


def render(template: str, **values: Any) -> str:
    """Fill a template of this room; what is not markup is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["breakable"] = breakable
    own = {name: Markup((TEMPLATES / file).read_text()) for name, file in _OWN.items()}
    return environment.get_template(template).render(**own, **values)


_OWN = {"style": "style.css", "script": "script.js"}


def breakable(text: str) -> Markup:
    """Return text as markup that may break after the commas of an environment's id, and never in an arrow."""
    marked = re.sub(r",(?=\S)", ",<wbr>", str(escape(text)))
    return Markup(re.sub(r"\S+ -&gt; \S+", r'<span class="whole">\g<0></span>', marked))


def _facts(study: StudyRecord, summary: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """What was done, each with whether it is long."""
    explored = [run.env_step for run in study.runs if run.phase == "pretrain" and run.finished]
    seeds = len({run.seed for run in study.finetuning})
    done = sum(run.finished for run in study.runs)
    facts = [
        ("seeds", "1: no intervals" if seeds == 1 else f"{seeds}, paired", False),
        ("runs", f"{done} of {len(study.runs)} finished", False),
        ("reward-free steps", f"{max(explored):,}" if explored else "none", False),
        ("steps of fine-tuning", f"{study.steps:,}", False),
        ("environment steps in all", f"{summary['environment_steps']:,}", False),
        ("wall clock", duration(summary["wall_seconds"]), False),
    ]
    tasks = [str(task) for task in study.tasks if task is not None] or [study.environment]
    return [*facts, ("environments" if len(tasks) > 1 else "environment", " · ".join(tasks), True)]


def _figure(figure: Figure, svg: str) -> dict[str, Any]:
    kinds = {"plot": not figure.picture, "picture": figure.picture}
    kinds |= {"wide": figure.wide, "by-condition": figure.by_condition}
    return {
        "name": figure.name,
        "title": figure.title,
        "text": figure.text,
        "alternative": figure.alternative,
        "wide": figure.wide,
        "classes": " ".join(name for name, there in kinds.items() if there),
        "box": view_box(svg),
        "drawing": Markup(inline(svg, figure.name)),
        "csv": _data_link(as_csv(figure.rows)) if figure.rows else "",
    }


def _data_link(text: str) -> str:
    return f"data:text/csv;base64,{base64.b64encode(text.encode()).decode()}"


def _runs(study: StudyRecord) -> list[dict[str, Any]]:
    return [
        {
            "id": run.id,
            "state": state_of(study, run),
            "steps": run.env_step,
            "time": duration(run.wall_seconds),
            "needs": ", ".join(run.data) or run.needs,
        }
        for run in study.runs
    ]


def _settings(study: StudyRecord) -> Sequence[tuple[str, Differences]]:
    conditions = [name for name in study.conditions if all(run.learns for run in study.of(name))]
    late = differences({name: study.of(name) for name in conditions}, len(study.tasks) > 1)
    early = differences(study.explorers(), False)
    found = [("Phase 2, between conditions", late), ("Phase 1, between explorers", early)]
    return [(title, each) for title, each in found if len(each.groups) > 1]
