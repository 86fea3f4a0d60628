"""Errors that a person can mend.

Belongs here: the base of every error whose message says what is wrong and what to do. Does not belong here: errors
of the program itself, which crash with a traceback and may be tried again.
"""


class Mendable(ValueError):
    """Something outside the program is wrong: a recipe, a file, a stage not yet run. Trying again changes nothing."""


class RecipeError(Mendable):
    """A recipe that cannot be used; the message names file, line or key and what is allowed."""


class NotMaterialized(Mendable, LookupError):
    """A stage was asked for that has not run for these inputs; the message names the one to run."""


MENDABLE = (Mendable, FileNotFoundError, PermissionError)
"""What callers tell a person without trying again. Anything else is worth a traceback and another try."""
