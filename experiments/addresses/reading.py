"""Studies at an address, read: what `expedition status`, `report` and `compare` are shown of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from expedition import UserError
from experiments.addresses.keeper import RECORD, cache_folder, name_of
from experiments.addresses.leases import FOLDER, Leases
from experiments.addresses.runs import RESULT, STATUS, is_light
from experiments.launchers.status import RunStatus, run_statuses
from training.storage.shared import Store


def read_folder(address: str) -> Path:
    """Fetch what a report reads of a study at an address: all but its tensors.

    The copy stays, in a folder of its own beside the one that a study here works in: the report is written
    there.

    Raises:
        UserError: the address does not answer, or holds no study.
    """
    store, names = _opened(address)
    if RECORD not in names:
        raise UserError(f"'{address}' holds no study: give the address of its folder.")
    folder = cache_folder(address) / "read" / name_of(address)
    shutil.rmtree(folder, ignore_errors=True)
    store.get({name: folder / name for name in names if _is_read(name)})
    return folder


def send_report(address: str, folder: Path, report: tuple[str, ...]) -> None:
    """Put a report beside the study at an address that it was made of.

    Raises:
        UserError: the address does not answer.
    """
    Store(address).put({name: folder / name for name in report if (folder / name).is_file()})


def statuses(address: str) -> dict[str, list[RunStatus]]:
    """The runs of the studies at an address, which is that of one or of a folder of several.

    Raises:
        UserError: the address does not answer, or holds no study.
    """
    store, names = _opened(address)
    studies = [name.removesuffix(RECORD) for name in names if name.endswith(RECORD) and name.count("/") < 2]
    if not studies:
        raise UserError(f"'{address}' holds no study: give the address of one, or of several.")
    wanted = [name for name in names if PurePosixPath(name).name in (RECORD, RESULT, STATUS)]
    with tempfile.TemporaryDirectory(prefix="expedition-") as told:
        store.get({name: Path(told, name) for name in wanted if name.startswith(tuple(studies))})
        return {
            f"{store.address}/{study}".rstrip("/"): run_statuses(Path(told, study), _works_on(address, study))
            for study in sorted(studies)
        }


def _works_on(address: str, study: str) -> Callable[[Path], bool]:
    """Whether a machine works on a run, as far as its lease tells."""
    leases = Leases(Store(f"{address.rstrip('/')}/{study}"))
    held = {name.partition("/")[0] for name in leases.store.sizes(FOLDER)}
    return lambda folder: folder.name in held and leases.is_fresh(folder.name)


def _opened(address: str) -> tuple[Store, list[str]]:
    store = Store(address)
    return store, list(store.sizes())


def _is_read(name: str) -> bool:
    """Whether a report reads a file: the study's record, and all that is light of a run."""
    run, _, rest = name.partition("/")
    return name == RECORD or (bool(rest) and run != FOLDER and is_light(rest))
