"""Errors that a person can mend.

Belongs here: the base of every error whose message says what is wrong and what to do, and what many such messages
say alike. Does not belong here: what the machine refuses (machine.py); errors of the program itself, which crash with a
traceback and may be tried again.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class Mendable(ValueError):
    """Something outside the program is wrong: a recipe, a file, a stage not yet run. Trying again changes nothing."""


class RecipeError(Mendable):
    """A recipe that cannot be used; the message names file, line or key and what is allowed."""


class NotMaterialized(Mendable, LookupError):
    """A stage was asked for that has not run for these inputs; the message names the one to run."""


def meant(given: Any, known: Iterable[str]) -> str:
    """What a person may have meant by a name that is none: '; did you mean 'csv'?', empty where nothing is near."""
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
