"""Errors that a user can mend: one sentence that says what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input or a broken machine state; its message is one sentence that says what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a mistyped name, which proposes the nearest known ones.

    Args:
        kind: what the name stands for, in the singular ("plan").
        name: what was given.
        known: every name that would have been accepted.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(names)}."
    return UserError(f"Unknown {kind} '{name}': {hint}")
