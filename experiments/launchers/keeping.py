"""Where a study is kept: what its launcher asks before it begins runs, and tells when they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from experiments.launchers.graph import Group
from experiments.studies.runs import PlannedRun
from training.storage.shared import is_address


class Keeper(Protocol):
    """Keeps a study's folder, here alone or at an address too.

    Attributes:
        folder: in which its runs work, on this machine.
        where: for a person, beside the folder; empty where the folder is all there is.
    """

    folder: Path
    where: str

    def begin(self, runs: Sequence[PlannedRun]) -> None:
        """Bring in what is done elsewhere; called when the folder is held and study.json is written."""
        ...

    def may_begin(self, ready: Sequence[Group], room: int) -> list[Group]:
        """Groups among those that are ready that are this machine's, at most as many as there is room for."""
        ...

    def done_elsewhere(self) -> list[Group]:
        """Groups among those that were ready whose results have come in from another machine since."""
        ...

    def is_taken(self, group: Group) -> bool:
        """Whether another machine has taken a group over that is carried out here."""
        ...

    def ended(self, group: Group) -> None:
        """A group is carried out no longer, whatever its end."""
        ...

    def close(self) -> None:
        """Send what is left and let go; tells, but raises nothing."""
        ...

    def check_sent(self, report: Sequence[str]) -> None:
        """Send the report's files.

        Raises:
            UserError: something could not be sent.
        """
        ...


class Here:
    """Keeps a study in a folder of this machine, or of a disk that machines share.

    Args:
        folder: the study's.
    """

    where = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, runs: Sequence[PlannedRun]) -> None:
        """There is nowhere else."""

    def may_begin(self, ready: Sequence[Group], room: int) -> list[Group]:
        """The first ones."""
        return list(ready[:room])

    def done_elsewhere(self) -> list[Group]:
        """None."""
        return []

    def is_taken(self, group: Group) -> bool:
        """Never."""
        return False

    def ended(self, group: Group) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def check_sent(self, report: Sequence[str]) -> None:
        """Nothing to do."""


def keeper_of(out: Path | str, say: Callable[[str], None]) -> Keeper:
    """What keeps a study in a folder, or at an address.

    Args:
        out: path of the folder, or an fsspec URL.
        say: told one line at a time what a person wants to know.

    Raises:
        UserError: the address cannot be read.
    """
    if not is_address(out):
        return Here(Path(out))
    from experiments.addresses.keeper import AtAddress  # which a study in a folder needs not

    return AtAddress(str(out), say)
