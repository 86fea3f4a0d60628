"""What tests of caption files share: a source's section, all rows of its files, and writing files of the formats."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthvlm_core.captions import files, judging
from synthvlm_core.captions.files import SourceError
from synthvlm_core.parts.part import kinds
from synthvlm_core.parts.source import Source
from synthvlm_core.store.records import QUARANTINE, RAW_CAPTIONS

READERS = "synthvlm_core.captions.readers"
Found = list[dict[str, Any]]


def source(kind: str, *patterns: str, **more: Any) -> Source:
    """The section of a source named `here`, as a recipe would have it."""
    section: Any = kinds(READERS)[kind]
    found: Source = section.model_validate(
        {"name": "here", "format": kind, "files": patterns or ("x",), **more}, strict=False
    )
    return found


def read(folder: Path, kind: str, *patterns: str, batch_rows: int = 50_000, **more: Any) -> tuple[Found, Found]:
    """Captions and quarantined rows of all files, after checking that they add up."""
    wanted = source(kind, *patterns, **more)
    captions: Found = []
    quarantined: Found = []
    for file in files.input_files(wanted, str(folder)):
        for batch in judging.read(wanted, file, batch_rows=batch_rows):
            assert batch.rows == batch.captions.num_rows + batch.quarantined.num_rows <= batch_rows
            assert batch.captions.schema.equals(RAW_CAPTIONS.schema, check_metadata=True)
            assert batch.quarantined.schema.equals(QUARANTINE.schema, check_metadata=True)
            batch.captions.validate(full=True)
            captions += batch.captions.to_pylist()
            quarantined += batch.quarantined.to_pylist()
    return captions, quarantined


def fails(folder: Path, match: str, kind: str, *patterns: str, **more: Any) -> None:
    """Reading the files is an error that a person can mend."""
    with pytest.raises(SourceError, match=match):
        read(folder, kind, *patterns, **more)


def picked(rows: Found, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of some rows."""
    return [tuple(row[column] for column in columns) for row in rows]


def parquet(path: Path, **columns: Any) -> None:
    """Write a Parquet file."""
    pq.write_table(pa.table(columns), path)


def tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    """Write a tar archive."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
