"""What an n-gram model of KenLM says of captions: the perplexity that Data-Juicer filters by.

Belongs here: its definition, the two files it takes, where they lie. Does not belong here: bounds (captions/rules/).

With the pieces that sentencepiece cuts a text into, joined by blanks, w of the lines of which have n_1 ... n_w words:

    perplexity = 10 ^ ( - sum over lines of log10 p(line) / sum over lines of (n_i + 1) ), rounded to one decimal

where p counts the begin and the end of a line. A text without any line has 0.0. (py-data-juicer 1.6.1,
ops/filter/perplexity_filter.py)
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthvlm_core import hashing, lfs
from synthvlm_core.errors import RecipeError
from synthvlm_core.models import weights
from synthvlm_core.parts.locations import locate

HUB = "hf://"
PACKAGES = ("kenlm", "sentencepiece")
BATCH = 1_000

_HUB_FILE = re.compile(r"hf://([\w.-]+/[\w.-]+)@([0-9a-f]{40})/(.+)")


@dataclass(frozen=True)
class ModelFile:
    """A file of a model: on this machine, or of a hub's repository at a commit, `hf://owner/name@commit/path`."""

    place: str
    key: str
    """The recipe's key, for messages."""

    @property
    def is_local(self) -> bool:
        """Whether it is named by a path."""
        return not self.place.startswith(HUB)

    @property
    def identity(self) -> str:
        """Hash of its bytes, or of the commit that fixes them.

        Raises:
            RecipeError: if it is not there or its name is none.
        """
        if self.is_local:
            return weights.file_digest(self._local())
        return hashing.of_json(["hub file", *self._of_hub()])

    def path(self) -> Path:
        """The file, fetched where it is not on this machine yet.

        Raises:
            RecipeError: if it cannot be had.
        """
        if self.is_local:
            return self._local()
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        repository, commit, name = self._of_hub()
        try:
            return Path(hf_hub_download(repository, name, revision=commit))
        except (HfHubHTTPError, OSError) as error:
            raise RecipeError(f"{self.key}: {self.place} cannot be fetched: {error}") from error

    def _local(self) -> Path:
        path = Path(self.place)
        if "://" in self.place or not path.is_file():
            raise RecipeError(
                f"{self.key}: no file {self.place} on this machine; give a path, or hf://owner/name@commit/path with "
                "the 40 hex digits of the commit"
            )
        if (pointer := lfs.told([path])) is not None:
            raise RecipeError(f"{self.key}: {pointer}")
        return path

    def _of_hub(self) -> tuple[str, str, str]:
        found = _HUB_FILE.fullmatch(self.place)
        if found is None:
            raise RecipeError(
                f"{self.key}: {self.place} is no file of a hub at a commit: hf://owner/name@commit/path, the commit "
                "with its 40 hex digits"
            )
        return found[1], found[2], found[3]


def model_file(name: str, folder: str, key: str) -> ModelFile:
    """A file as a recipe in `folder` names it. Raises RecipeError for a packaged name that leads nowhere."""
    return ModelFile(name if name.startswith(HUB) else locate(name, folder), key)


class Scorer:
    """An n-gram model and the pieces that it was made of."""

    def __init__(self, model: ModelFile, sentencepiece: ModelFile) -> None:
        """Loads both. Raises RecipeError if a file is not there, or not of its kind."""
        import kenlm as library
        from sentencepiece import SentencePieceProcessor

        try:
            self._model: Any = library.Model(str(model.path()))
        except (OSError, RuntimeError) as error:
            raise RecipeError(f"{model.key}: {model.place} is no model of KenLM: {error}") from error
        try:
            self._pieces: Any = SentencePieceProcessor(model_file=str(sentencepiece.path()))
        except (OSError, RuntimeError) as error:
            raise RecipeError(
                f"{sentencepiece.key}: {sentencepiece.place} is no sentencepiece model: {error}"
            ) from error

    def perplexities(
        self, texts: Sequence[str], *, on_progress: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float64]:
        """Perplexity of every text, at least 0, float64 of shape (texts,); infinite where it is beyond all numbers.

        Args:
            on_progress: called with the number of texts done.
        """
        values = np.empty(len(texts), np.float64)
        for first in range(0, len(texts), BATCH):
            some = list(texts[first : first + BATCH])
            for place, pieces in enumerate(self._pieces.encode(some, out_type=str), first):
                values[place] = self._perplexity(" ".join(pieces))
            on_progress(first + len(some))
        return values

    def _perplexity(self, spelled: str) -> float:
        logarithm, length = 0.0, 0
        for line in spelled.splitlines():
            logarithm += self._model.score(line)
            length += len(line.split()) + 1
        if length == 0:
            return 0.0
        try:
            return round(float(10.0 ** (-logarithm / length)), 1)
        except OverflowError:
            return float("inf")
