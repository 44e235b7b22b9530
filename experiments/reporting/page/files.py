"""A figure as files for a paper (SVG, PDF, PNG, its data as CSV) and as a part of a web page."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from experiments.reporting.drawing.marks import STYLE
from experiments.reporting.page.figures import WIDE, WIDTH, Figure
from experiments.reporting.records import StudyRecord
from training.storage.state_tree import publish_bytes

_NEVER: Mapping[str, None] = {"Creator": None, "Producer": None, "CreationDate": None}
_METADATA: Mapping[str, dict[str, Any]] = {  # nothing that changes from one writing to the next
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
    "pdf": dict(_NEVER),
    "png": {"Software": None},
}
_DPI = 200


def write_figure(figure: Figure, study: StudyRecord, folder: Path) -> str:
    """Write NAME.svg, .pdf, .png and, where it has data, .csv; return the SVG.

    Args:
        figure: what to draw.
        study: what from.
        folder: where to write; it is made.

    Raises:
        UserError: the files can't be written.
    """
    made = drawn(figure, study)
    for suffix, data in made.items():
        publish_bytes(folder / f"{figure.name}.{suffix}", data)
    if figure.rows:
        publish_bytes(folder / f"{figure.name}.csv", as_csv(figure.rows).encode())
    return made["svg"].decode()


def drawn(figure: Figure, study: StudyRecord) -> dict[str, bytes]:
    """Draw a figure; return what its files hold, by suffix. Letters stay letters in the SVG."""
    style = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": figure.name, "pdf.fonttype": 42}
    with rc_context(style):
        size = (WIDE if figure.wide else WIDTH, figure.height)
        canvas = Canvas(figsize=size, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(canvas)
        figure.panel(canvas.subfigures(1, 1, squeeze=False)[0, 0], study)
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")  # laid out once, for all formats
        made = {}
        for suffix, metadata in _METADATA.items():
            data = io.BytesIO()
            canvas.savefig(data, format=suffix, metadata=metadata, transparent=suffix == "svg")
            made[suffix] = data.getvalue()
    return made


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a head; what is None is empty."""
    text = io.StringIO()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def inline(svg: str, name: str) -> str:
    """Return an SVG's drawing to stand in a page: `<g>...</g>` and its defs, for a `<svg>` of the page's own.

    Names are kept only where the drawing itself refers to them, and begin with `name`, because a page holds
    many drawings.

    Args:
        svg: as matplotlib writes it.
        name: of the figure.
    """
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 : body.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", body)
    return re.sub(r"\n\s*", "\n", body).strip()


def view_box(svg: str) -> str:
    """Return the `viewBox` of an SVG."""
    found = re.search(r'viewBox="([^"]+)"', svg)
    if found is None:
        raise ValueError("An SVG without a viewBox: it was not drawn by matplotlib.")
    return found[1]
