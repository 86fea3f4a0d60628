"""The recipe as it is published beside a set.

Belongs here: taking this machine out of a resolved recipe. Does not belong here: what a recipe says (recipe/).
"""

import json
import os
from typing import Annotated, Any, get_args

from synthvlm_core.parts.locations import shown
from synthvlm_core.parts.section import Location, Section
from synthvlm_core.recipe.sections import Recipe


def published(recipe: Recipe) -> bytes:
    """The resolved recipe as JSON, without the folder it was loaded from.

    Relative names of files and packaged ones stay as they are, URLs lose credentials. An absolute path is told as it
    looks from the recipe's folder if it lies below, else by its last name alone: neither a user's name nor a machine's
    disks are published.
    """
    told = {**_told(recipe, recipe.folder), "folder": ""}
    return (json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def as_published(recipe: Recipe) -> Recipe:
    """The recipe as `published` tells it: what a card may say of it."""
    return Recipe.model_validate_json(published(recipe))


def _told(section: Section, folder: str) -> dict[str, Any]:
    found = {}
    for name, field in type(section).model_fields.items():
        annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        found[name] = _plain(getattr(section, name), folder, _is_location(annotation))
    return found


def _plain(value: Any, folder: str, location: bool) -> Any:
    if isinstance(value, Section):
        return _told(value, folder)
    if isinstance(value, tuple):
        return [_plain(item, folder, location) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item, folder, location) for name, item in value.items()}
    if location and isinstance(value, str) and value.startswith(("file://", "local://")):
        value = value.partition("://")[2]
    if location and isinstance(value, str) and os.path.isabs(value):
        seen = os.path.relpath(value, folder or os.getcwd())
        return os.path.basename(value) if seen.startswith(os.pardir) else seen
    return shown(value) if location and isinstance(value, str) else value


def _is_location(annotation: Any) -> bool:
    """Whether a field, or each of its items, names a file."""
    if any(isinstance(marker, Location) for marker in getattr(annotation, "__metadata__", ())):
        return True
    return any(_is_location(argument) for argument in get_args(annotation))
