"""Break everything on purpose: `python -m benchmarks.chaos`, or `make chaos`.

Kills a study's processes at random moments, damages checkpoints, gives wrong inputs, and disturbs runs on
their way; says what each cost. Exits with 1 if anything fell short; `chaos.json` holds all that was found.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.record import Section

SECTIONS = ("damage", "wrong", "disturbances", "kills")


def carry_out(name: str, options: argparse.Namespace, folder: Path) -> Section:
    """Carry a section out in an empty folder."""
    # Imported here, for a fork of a process that has begun threads is none that works.
    if name == "damage":
        from benchmarks.chaos.damage import damage

        return damage(options.damages, options.seed, folder, say)
    if name == "wrong":
        from benchmarks.chaos.wrong import wrong

        return wrong(options.wrong, options.seed, folder, say)
    if name == "disturbances":
        from benchmarks.chaos.disturbances import disturbances

        return disturbances(folder, say)
    from benchmarks.chaos.kills import kills

    return kills(options.kills, options.seed, folder, say)


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the sections asked for, print a line for each, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--wrong", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, apart by commas")
    parser.add_argument("--out", type=Path, default=Path("build"))
    options = parser.parse_args(argv)
    asked = [name for name in options.only.split(",") if name]
    if strange := sorted(set(asked) - set(SECTIONS)):
        parser.error(f"no such section: {', '.join(strange)}; there are {', '.join(SECTIONS)}")
    found = {}
    for name in asked:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"chaos-{name}-") as folder:
            section = carry_out(name, options, Path(folder))
        found[name] = {**dataclasses.asdict(section), "seconds": round(time.monotonic() - began, 1)}
        print("\n".join(section.lines()), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"seed": options.seed, "sections": found}
    (options.out / "chaos.json").write_text(json.dumps(record, indent=1) + "\n")
    return 1 if any(section["short"] for section in found.values()) else 0


if __name__ == "__main__":
    # Before torch is imported: threads that were begun do not live in a fork.
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main())
