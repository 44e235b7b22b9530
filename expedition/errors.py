"""Errors that a user can mend: one sentence that says what to do."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


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


@contextlib.contextmanager
def users_own(what: str) -> Iterator[None]:
    """Tell what goes wrong while a class of a user's, named as `module:Class`, is loaded and made.

    Args:
        what: is made, as it begins a sentence ("The prediction 'mine:Prediction'").

    Raises:
        UserError: what is raised inside, in a sentence.
    """
    try:
        yield
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(
            f"{what} cannot be made ({error}): mend it, its name, or the options that it is given; its "
            "folder must be in PYTHONPATH."
        ) from error
