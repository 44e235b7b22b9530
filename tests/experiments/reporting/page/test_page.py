"""The page is whole by itself, for whole and for poor studies."""

import csv
import functools
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from experiments.reporting.page.page import breakable, write_page
from experiments.reporting.records import read_study
from experiments.reporting.summary import summarise

LIMIT = 5 * 1024 * 1024
VOID = {"meta", "br", "wbr", "img", "input", "hr", "link"}
LOADING = {"src", "href", "xlink:href", "poster", "data", "srcset", "action"}


class Page(HTMLParser):
    """What a browser would find: tags in their order, text, and what would be loaded."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.loaded, self.tags, self.labels, self.ids = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.loaded += [given[name] for name in LOADING if given.get(name)]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "svg":
            self.labels.append(given.get("aria-label"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.text.append(data)

    @property
    def said(self):
        return " ".join("".join(self.text).split())


def page_of(folder):
    study = read_study(folder)
    summary = summarise(study)
    path = write_page(study, summary)
    return path, path.read_text(encoding="utf-8"), summary


def rewrite(folder, change):
    head = json.loads((folder / "study.json").read_text())
    change(head)
    (folder / "study.json").write_text(json.dumps(head))


def without_phase_1(folder):
    def change(head):
        head["runs"] = [run for run in head["runs"] if run["phase"] == "finetune"]

    rewrite(folder, change)


def with_failures(folder):
    shutil.rmtree(folder / "model-s1")
    (folder / "policy-s0" / "result.json").unlink()
    (folder / "policy-s0" / "status.json").write_text(json.dumps({"state": "crashed", "env_step": 12}))
    rewrite(folder, lambda head: head.update(failed={"policy-s0": "the disk <was> full"}))


def with_markup(folder):
    rewrite(folder, lambda head: head.update(command='expedition study "<script>alert(1)</script>"'))


STUDIES = {
    "one seed": ({"seeds": (0,)}, None),
    "five seeds": ({"seeds": (0, 1, 2, 3, 4)}, None),
    "without Crafter, without films": (
        {"environment": "catch-vector", "suite": False, "films": False},
        with_markup,
    ),
    "without phase 1": ({"seeds": (0, 1, 2)}, without_phase_1),
    "with failed runs": ({"seeds": (0, 1, 2)}, with_failures),
    "one condition": ({"conditions": ("scratch",)}, None),
}


@pytest.fixture(scope="module")
def written(write_study, tmp_path_factory):
    """Path, text and summary of a study's page: each takes seconds, and is written once."""

    @functools.cache
    def write(name):
        settings, change = STUDIES[name]
        folder = write_study(tmp_path_factory.mktemp("page"), **settings)
        if change is not None:
            change(folder)
        return page_of(folder)

    return write


@pytest.mark.parametrize("name", STUDIES)
def test_it_holds_the_answer_and_needs_nothing_else(name, written):
    path, text, summary = written(name)
    page = Page(text)
    assert path.name == "report.html"
    assert (path.parent / "study.json").is_file()
    assert path.stat().st_size < LIMIT
    assert summary["answer"]["sentence"] in page.said
    assert [link for link in page.loaded if not link.startswith(("#", "data:"))] == []
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.S))
    assert "@import" not in style
    assert re.findall(r"url\((?!#)", text) == []
    assert len(page.ids) == len(set(page.ids))
    targets = {link[1:] for link in page.loaded if link.startswith("#")}
    assert targets <= set(page.ids)


@pytest.mark.parametrize("name", STUDIES)
def test_each_figure_is_told_in_words_and_lies_there_as_files(name, written):
    path, text, _ = written(name)
    labels = Page(text).labels
    assert len(labels) == len(set(labels)) == text.count("<figcaption>") > 0
    assert all(len(label) > 60 for label in labels)
    files = {file.name for file in (path.parent / "figures").iterdir()}
    for figure in re.findall(r'<figure id="([^"]+)"', text):
        assert {f"{figure}.svg", f"{figure}.pdf", f"{figure}.png"} <= files
        assert f"{figure}.csv" in files or figure == "dreams"


def test_the_data_of_a_figure_is_the_summary_s(written):
    path, text, summary = written("five seeds")
    folder = path.parent
    with (folder / "figures" / "worth_return.csv").open() as file:
        rows = {row["effect"]: row for row in csv.DictReader(file)}
    assert rows
    for name, row in rows.items():
        cell = summary["contributions"][name]["return"]
        assert [float(row[key]) for key in ("mean", "low", "high")] == pytest.approx(
            [cell[key] for key in ("mean", "low", "high")]
        )
    with (folder / "figures" / "achievements.csv").open() as file:
        rows = list(csv.DictReader(file))
    scratch = [json.loads((folder / f"scratch-s{s}" / "result.json").read_text()) for s in range(5)]
    told = {row["achievement"]: float(row["percent"]) for row in rows if row["condition"] == "scratch"}
    for name, percent in told.items():
        assert percent == pytest.approx(sum(result["success"][name] for result in scratch) / 5)


def test_failed_runs_are_marked_and_told(written):
    _, text, _ = written("with failed runs")
    assert text.count('<span class="failed" title="') == 1
    assert "policy-s0: failed (the disk &lt;was&gt; full), 12 steps" in text
    assert "Run model-s1 is not started: not in this report." in Page(text).said


def test_names_are_escaped(written):
    _, text, _ = written("without Crafter, without films")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert Page(text).tags.count("script") == 1  # its own


def test_what_was_published_stands_beside_crafter_alone(written):
    _, text, _ = written("one seed")
    assert "Published by others, not measured here" in text
    _, text, _ = written("without Crafter, without films")
    assert "Published by others" not in text


def test_the_page_is_the_same_when_it_is_written_again(written):
    path, first, _ = written("one seed")
    folder = path.parent
    files = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    _, second, _ = page_of(folder)
    assert first == second
    assert files == {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}


def test_ids_may_break_and_arrows_may_not():
    assert breakable("maze,size=9, MB -> MF <b>") == (
        'maze,<wbr>size=9, <span class="whole">MB -&gt; MF</span> &lt;b&gt;'
    )
