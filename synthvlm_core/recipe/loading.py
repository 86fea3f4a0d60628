"""From a YAML file to a recipe, with errors that a person can act on.

Belongs here: loading, and the resolved form that a run carries. Does not belong here: files and `extends`
(documents.py), what a recipe says (sections.py), what is wrong with one in words (explaining.py), whether its files and
models are there (checking.py).

    extends: miniature      # a preset, or a path that starts at this file
    name: mine
    sources: [...]

takes the other recipe and changes what is named. Sections are merged key by key; lists, maps whose keys are free
(`weights`, `floor`) and parts of another kind are replaced; relative paths belong to the file in which they stand.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synthvlm_core.errors import RecipeError
from synthvlm_core.recipe.documents import EXTENDS, documents_of, merged, modern, rebased
from synthvlm_core.recipe.explaining import explained
from synthvlm_core.recipe.places import Document, location_of, place_of
from synthvlm_core.recipe.sections import Recipe


@dataclass(frozen=True)
class Loaded:
    """A recipe and the files it came from, the most particular one first."""

    recipe: Recipe
    documents: tuple[Document, ...]
    values: dict[str, Any]
    """What they say together."""

    def place(self, key: str) -> str:
        """'file:line' of a dotted key, or of the deepest part of it that stands in a file."""
        return place_of(self.documents, self.values, location_of(key))


def load(name_or_path: str) -> Recipe:
    """Load a preset by name, or a recipe file.

    Raises:
        RecipeError: naming file, line, key and what is allowed.
    """
    return load_with_places(name_or_path).recipe


def load_with_places(name_or_path: str) -> Loaded:
    """Load a recipe and remember where its values stand. Raises RecipeError as `load`."""
    documents = documents_of(name_or_path, Path.cwd(), ())
    folder = documents[0].path.resolve().parent
    values: dict[str, Any] = {}
    for document in reversed(documents):
        home = document.path.resolve().parent
        own = {key: value for key, value in document.values.items() if key != EXTENDS}
        values = merged(Recipe, values, own if home == folder else rebased(Recipe, own, home, folder))
    try:
        recipe = Recipe.model_validate_json(json.dumps(values, allow_nan=True))
    except ValidationError as error:
        raise RecipeError("\n".join(explained(documents, values, error.errors()))) from error
    return Loaded(recipe.model_copy(update={"folder": str(folder)}), documents, values)


def dumps(recipe: Recipe) -> str:
    """The resolved recipe as JSON, for a run to carry."""
    return recipe.model_dump_json()


def loads(text: str) -> Recipe:
    """The inverse of `dumps`. Raises RecipeError if the text is not a resolved recipe."""
    try:
        return Recipe.model_validate_json(json.dumps(modern(json.loads(text))))
    except ValueError as error:
        raise RecipeError(f"not a resolved recipe: {error}") from error
