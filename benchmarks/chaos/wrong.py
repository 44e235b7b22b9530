"""Wrong inputs: each is refused in one sentence with code 2, or turns out to be none and ends well."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos.inputs import wrong_case
from benchmarks.chaos.record import Section, Short, counted
from benchmarks.chaos.tiny import MACHINE, Said, carried_out, preload, settings_file

SECONDS = 120
"""An accepted command makes some 40 steps."""


def wrong(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> Section:
    """Try `count` wrong inputs in an empty folder."""
    preload()
    begun = carried_out(
        [
            "pretrain",
            "--config",
            str(settings_file(folder)),
            "--steps",
            "40",
            *MACHINE,
            "--out",
            str(folder / "run"),
        ]
    )
    if begun.code != 0:
        raise SystemExit(f"The valid run did not end well: {begun.err}")
    before = Path.cwd()
    words, short = [], []
    try:
        for index in range(count):
            os.chdir(_clean(folder / "work"))
            case = wrong_case(random.Random(f"{seed} {index}"), folder)
            said = carried_out(case.arguments, SECONDS)
            words.append(_ended(said))
            if said.why is not None:
                short.append(Short(case.again, f"input {index}, {case.what}: {said.why}"))
                say(f"  {short[-1].why}: {short[-1].again}")
    finally:
        os.chdir(before)
    return Section(
        "wrong inputs", count, f"command lines and files, seed {seed}", tuple(short), counted(words)
    )


def _clean(folder: Path) -> Path:
    """An empty working folder, but for a file and a folder that paths may name."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "folder").mkdir(parents=True)
    (folder / "file.txt").write_text("mine\n")
    return folder


def _ended(said: Said) -> str:
    if said.why is not None:
        return "without a clear end"
    return "accepted" if said.code == 0 else "refused"
