"""LAION's and COYO's metadata: Parquet files of url, caption and similarity, under any of their spellings.

Belongs here: the section. Does not belong here: finding and reading columns (parquet.py).
"""

from collections.abc import Iterator
from typing import Literal

from synthvlm_core.captions.readers import parquet
from synthvlm_core.parts.source import InputFile, Rows, Source


class Laion(Source):
    """Parquet with a caption column and perhaps url, id and similarity."""

    format: Literal["laion"]

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        yield from parquet.read(file.url, max_characters=self.max_characters, batch_rows=batch_rows)
