"""Which runs of a study may begin, are done, or failed: what a launcher goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from experiments.studies.runs import PlannedRun

IN_A_ROW = 5
"""So many failures with no success between them have one cause: nothing else is begun."""

Group = list[PlannedRun]
"""Runs that one process carries out."""


class Graph:
    """The runs that are left; one begins when what it needs is finished.

    Args:
        groups: all runs, by the process that carries them out; those first that others wait for.
        finished: ids of runs that are finished already.
        retries: how often a group that crashed is begun again.

    Attributes:
        finished: ids of the runs that are finished.
        failed: why a run failed for good, by its id.
    """

    def __init__(self, groups: Sequence[Group], finished: Iterable[str], retries: int) -> None:
        self.finished, self.failed = set(finished), dict[str, str]()
        self.retries = retries
        self._tries: Counter[str] = Counter()
        self._in_a_row = 0
        left = ([run for run in group if run.id not in self.finished] for group in groups)
        self._waiting = [group for group in left if group]

    def ready(self) -> list[Group]:
        """Groups that may begin, in their order."""
        if self._in_a_row >= IN_A_ROW:
            return []
        return [g for g in self._waiting if all(self.finished.issuperset(run.waits_for) for run in g)]

    def begin(self, group: Group) -> None:
        """A group is being carried out."""
        self._waiting.remove(group)
        self._tries[group[0].id] += 1

    def succeed(self, group: Group) -> None:
        """All of a group is finished."""
        self._in_a_row = 0
        self.finished |= {run.id for run in group}

    def fail(self, group: Group, why: str, crashed: bool) -> bool:
        """A group ended before it was finished.

        Args:
            group: the one.
            why: in words.
            crashed: nobody said what to mend, so another try may go well.

        Returns:
            Whether it is ready again.
        """
        if crashed and self._tries[group[0].id] <= self.retries:
            self._waiting.insert(0, group)
            return True
        self._in_a_row += 1
        self.failed |= dict.fromkeys([run.id for run in group], why)
        return False

    def displaced(self, group: Group) -> None:
        """A group was ended for others' sake: it is ready again, and that was no try."""
        self._tries[group[0].id] -= 1
        self._waiting.insert(0, group)

    def not_begun(self) -> int:
        """How many runs wait, for one that failed or because too many did."""
        return sum(map(len, self._waiting))
