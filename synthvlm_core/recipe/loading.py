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
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from synthvlm_core.errors import RecipeError
from synthvlm_core.recipe.documents import EXTENDS, documents_of, merged, modern, rebased
from synthvlm_core.recipe.explaining import Mistake, explained, of_keys
from synthvlm_core.recipe.places import Document, location_of, place_of
from synthvlm_core.recipe.sections import Recipe, misfits
from synthvlm_core.recipe.types import annotation_of


@dataclass(frozen=True)
class Draft:
    """What the files of a recipe say together, whether or not it makes a recipe."""

    documents: tuple[Document, ...]
    """The files, the most particular one first."""
    values: dict[str, Any]
    folder: str

    def place(self, key: str) -> str:
        """'file:line' of a dotted key, or of the deepest part of it that stands in a file."""
        return place_of(self.documents, self.values, location_of(key))

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """All that keeps the values from being a recipe."""
        try:
            Recipe.model_validate_json(self._text)
        except ValidationError as error:
            return self._explained(error)
        return []

    def recipe(self) -> Recipe:
        """The recipe. Raises RecipeError with all mistakes if there are any."""
        try:
            found = Recipe.model_validate_json(self._text)
        except ValidationError as error:
            raise RecipeError("\n".join(map(str, self._explained(error)))) from error
        return found.model_copy(update={"folder": self.folder})

    def section(self, key: str) -> Any:
        """A key of the recipe read by itself, None if it cannot be."""
        if key not in self.values:
            return None
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(annotation_of(Recipe, key))
            return adapter.validate_json(json.dumps(self.values[key], allow_nan=True), strict=True)
        except ValidationError:
            return None

    @property
    def _text(self) -> str:
        return json.dumps(self.values, allow_nan=True)

    def _explained(self, error: ValidationError) -> list[Mistake]:
        found = explained(self.documents, self.values, error.errors())
        if any(problem["loc"] for problem in error.errors()):
            # then pydantic did not come so far as to compare sections
            sections = (self.section(key) for key in ("sources", "scores", "selection", "training"))
            found += of_keys(self.documents, self.values, misfits(*sections))
        return found


def load(name_or_path: str) -> Recipe:
    """Load a preset by name, or a recipe file.

    Raises:
        RecipeError: naming file, line, key and what is allowed, of all mistakes.
    """
    return read(name_or_path).recipe()


def read(name_or_path: str) -> Draft:
    """Read a preset or a recipe file and all that it extends, and remember where values stand.

    Raises:
        RecipeError: naming file and line, if one is not there or no YAML.
    """
    documents = documents_of(name_or_path, Path.cwd(), ())
    folder = documents[0].path.resolve().parent
    values: dict[str, Any] = {}
    for document in reversed(documents):
        home = document.path.resolve().parent
        own = {key: value for key, value in document.values.items() if key != EXTENDS}
        values = merged(Recipe, values, own if home == folder else rebased(Recipe, own, home, folder))
    return Draft(documents, values, str(folder))


def dumps(recipe: Recipe) -> str:
    """The resolved recipe as JSON, for a run to carry."""
    return recipe.model_dump_json()


def loads(text: str) -> Recipe:
    """The inverse of `dumps`. Raises RecipeError if the text is not a resolved recipe."""
    try:
        return Recipe.model_validate_json(json.dumps(modern(json.loads(text))))
    except ValueError as error:
        raise RecipeError(f"not a resolved recipe: {error}") from error
