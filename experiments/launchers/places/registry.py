"""A place by its name and options, as `slurm,partition=gpu,gpus=1`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from expedition import UserError
from expedition.errors import unknown_name
from experiments.launchers.places.base import Place
from experiments.launchers.places.local import Local
from experiments.launchers.places.ray_cluster import RayCluster, RayOptions
from experiments.launchers.places.slurm import Slurm, SlurmOptions

T = TypeVar("T")

PLACES: dict[str, Any] = {"local": None, "ray": RayOptions, "slurm": SlurmOptions}
"""What options each has."""


def make_place(
    wish: str, folder: Path, jobs: int, threads: int, exploring: int, processes: int, on_gpu: bool
) -> Place:
    """Return the place that a user named.

    Args:
        wish: `local`, or `ray` or `slurm` with options: `name,option=value,...`.
        folder: of the study.
        jobs: runs at a time; 0 for as many as the place thinks right.
        threads: of each run; 0 likewise.
        exploring: how many runs begin with the study, which others wait for.
        processes: of the whole study.
        on_gpu: whether runs on this machine learn on a GPU.

    Raises:
        UserError: no such place or option, or its package is missing.
    """
    name, _, rest = wish.partition(",")
    if name not in PLACES:
        raise unknown_name("launcher", name, PLACES)
    if name == "local":
        if rest:
            raise UserError("The launcher 'local' has no options: use --jobs and --threads.")
        return Local(jobs, threads, exploring, processes, on_gpu)
    options = parse_options(name, rest, PLACES[name])
    if threads and not options.cpus:
        options = dataclasses.replace(options, cpus=threads)
    kind: Any = RayCluster if name == "ray" else Slurm
    return kind(options, folder, jobs or processes)


def parse_options(name: str, text: str, kind: type[T]) -> T:
    """Options of a place from `option=value,...`.

    Raises:
        UserError: one is unknown, or its value is no number where one is needed.
    """
    defaults = kind()
    known = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        option, _, value = part.partition("=")
        if option not in known:
            raise unknown_name(f"option of the launcher {name}", option, known)
        try:
            found[option] = type(known[option])(value)
        except ValueError as error:
            raise UserError(f"The launcher's option '{option}' is a number, not '{value}'.") from error
        if not value or (not isinstance(found[option], str) and found[option] < 0):
            raise UserError(
                f"The launcher's option '{option}' cannot be '{value}': leave it out, or mend it."
            )
    return dataclasses.replace(defaults, **found)  # type: ignore[type-var]
