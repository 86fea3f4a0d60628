"""Where a recipe's names of files lead.

Belongs here: turning a path, a URL or a packaged name into something to open. Does not belong here: listing, opening
and reading (captions/readers/opening.py, models/weights.py).

    captions/*.tsv              relative to the file of the recipe in which it stands
    ~/captions/*.tsv            the user's home
    package:NAME/path           a file that ships with an installed Python package
    s3://bucket/captions.tsv    any fsspec URL
"""

import importlib.util
import os
from pathlib import Path

from synthvlm_core.errors import RecipeError

PACKAGE = "package:"


def locate(name: str, folder: str) -> str:
    """An absolute path or a URL.

    Args:
        folder: the recipe's folder.

    Raises:
        RecipeError: if a packaged name leads to no installed package or out of it.
    """
    if name.startswith(PACKAGE):
        package, _, rest = name.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise RecipeError(f"{name!r}: there is no installed package {package!r}; install it or correct the name")
        root = os.path.abspath(next(iter(spec.submodule_search_locations)))
        path = os.path.normpath(os.path.join(root, rest))
        if os.path.commonpath([root, path]) != root:
            raise RecipeError(f"{name!r} leads out of its package")
        return path
    if "://" in name:
        return name
    return os.path.normpath(os.path.join(os.path.abspath(folder), Path(name).expanduser()))


def is_relative(name: str) -> bool:
    """Whether a name depends on the folder of the recipe."""
    return not (name.startswith((PACKAGE, "~")) or "://" in name or os.path.isabs(name))
