"""The page as a browser shows it: at phone and desk width, light and dark."""

import html
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from experiments.reporting.page.page import write_page
from experiments.reporting.records import read_study
from experiments.reporting.summary import summarise

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")

PHONE, DESK = 390, 1280
SCHEMES = {"dark": "0", "light": "1"}
MEASURE = """
<script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const wide = [...page.querySelectorAll("figure svg")].filter((s) => s.getBoundingClientRect().width < 150);
  const said = {across: root.scrollWidth, room: root.clientWidth, small: wide.length,
    figures: page.querySelectorAll("figure svg").length, chips: page.querySelectorAll(".chips button").length,
    ground: getComputedStyle(page.body).backgroundColor};
  document.body.dataset.said = Object.entries(said).map((pair) => pair.join("=")).join(";");
});
</script>
"""


@pytest.fixture(scope="module")
def page(write_study, tmp_path_factory):
    study = read_study(write_study(tmp_path_factory.mktemp("study"), seeds=(0, 1, 2, 3, 4)))
    return write_page(study, summarise(study)).read_text(encoding="utf-8")


def chromium(folder, scheme, width, *arguments):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},2000"]
    command += [f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def framed(page, folder, width):
    """A page that shows ours in a frame, because a window is at least 500 pixels wide."""
    frame = f'<iframe style="border:0;width:{width}px;height:2000px" srcdoc="{html.escape(page)}"></iframe>'
    path = folder / "frame.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{frame}{MEASURE}')
    return path.as_uri()


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_fits_and_is_drawn(page, tmp_path, width, scheme):
    picture = tmp_path / "page.png"
    found = chromium(
        tmp_path, scheme, width, f"--screenshot={picture}", "--dump-dom", framed(page, tmp_path, width)
    )
    said = dict(pair.split("=") for pair in re.search(r'data-said="([^"]+)"', found)[1].split(";"))
    assert int(said["across"]) == int(said["room"]) == width  # nothing to scroll sideways
    assert int(said["figures"]) >= 8
    assert said["small"] == "0"
    assert int(said["chips"]) == 4
    ground = int(re.search(r"\d+", html.unescape(said["ground"]))[0])
    assert ground > 240 if scheme == "light" else ground < 40
    with Image.open(picture) as image:
        grey = np.asarray(image.convert("L"))[:2000, :width]
    assert abs(np.median(grey) - ground) < 15
    assert grey.std() > 15  # something is written on it


def test_it_is_whole_without_scripts(page, tmp_path):
    plain = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    path = tmp_path / "plain.html"
    path.write_text(plain)
    found = chromium(tmp_path, "light", DESK, "--dump-dom", path.as_uri())
    assert found.count("<figcaption>") == page.count("<figcaption>")
    assert found.count("<button") == 0
    assert '<ul class="chips"' in found
