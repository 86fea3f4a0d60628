import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synthvlm_miniature.making import source_files
from synthvlm_miniature.making.rows import source_rows

ROWS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources")
    source_files.write(path, seed=1, rows=ROWS)
    return path


def test_the_four_formats_hold_every_row(folder: Path) -> None:
    laion = pq.read_table(folder / "laion/part-00000.parquet")
    assert laion.column_names == [
        "SAMPLE_ID",
        "URL",
        "TEXT",
        "HEIGHT",
        "WIDTH",
        "LICENSE",
        "NSFW",
        "similarity",
    ]
    sbu = json.loads((folder / "sbu/sbu-captions-all.json").read_text(encoding="utf-8"))
    metadata = pq.read_table(folder / "datacomp/metadata.parquet")
    captions = pq.read_table(folder / "datacomp/blip2_captions.parquet")
    lines = (folder / "cc/train.tsv").read_bytes().splitlines()
    assert {laion.num_rows, metadata.num_rows, captions.num_rows, len(lines), *map(len, sbu.values())} == {ROWS}
    assert metadata["uid"].to_pylist() == captions["uid"].to_pylist()
    assert laion["TEXT"].to_pylist() == [row.text for row in source_rows("laion", 1, ROWS)]
    assert sbu["captions"] == [row.text for row in source_rows("sbu", 1, ROWS)]


def test_the_tsv_has_broken_rows_where_the_truth_says_so(folder: Path) -> None:
    lines = (folder / "cc/train.tsv").read_bytes().splitlines()
    for line, row in zip(lines, source_rows("cc", 1, ROWS), strict=True):
        assert (line.count(b"\t") == 1) == (row.truth != "columns")
        if row.truth == "encoding":
            with pytest.raises(UnicodeDecodeError):
                line.decode()
