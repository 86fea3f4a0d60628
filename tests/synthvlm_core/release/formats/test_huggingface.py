"""The Parquet files as a reader of rows meets them; `datasets` reads a whole release in ../test_datasets.py."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthvlm_core.release.formats import huggingface
from synthvlm_core.store.records import NewerTable, Table

from .conftest import TABLE, rows_of


def test_a_reader_of_one_picture_unpacks_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "ROWS_PER_GROUP", 3)
    file = pq.ParquetFile(io.BytesIO(huggingface.encode(rows_of(["one", "two", "three", "four"]), TABLE)))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 1]


def test_rows_are_read_a_few_at_a_time_in_the_columns_and_order_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "BATCH_ROWS", 2)
    rows = rows_of(["one", "two", "three"])
    data = huggingface.encode(rows, TABLE)
    parts = list(huggingface.read(data, TABLE, "here"))
    assert [part.num_rows for part in parts] == [2, 1]
    assert pa.concat_tables(parts) == rows
    narrow = pa.concat_tables(huggingface.read(data, TABLE, "here", ["text", "rank"]))
    assert narrow.to_pydict() == {"text": ["one", "two", "three"], "rank": [1, 2, 3]}


def nulls_in(rows: pa.Table, column: str) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, column, pa.nulls(rows.num_rows, rows.schema.field(column).type))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(huggingface.encode(rows_of(["one"]), TABLE)[:-10], id="cut"),
        pytest.param(
            huggingface.encode(
                rows_of(["one"]).drop_columns("ssim"),
                Table(
                    "synthvlm_100k", 1, "image_id", tuple(column for column in TABLE.columns if column.name != "ssim")
                ),
            ),
            id="without a score",
        ),
        pytest.param(huggingface.encode(nulls_in(rows_of(["one"]), "text"), TABLE), id="a caption is null"),
    ],
)
def test_what_is_no_file_of_a_set_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ValueError, match="shelf/train is no synthvlm_100k with the scores of this recipe"):
        list(huggingface.read(data, TABLE, "shelf/train"))


def test_a_file_of_a_later_version_says_so() -> None:
    later = Table("synthvlm_100k", TABLE.version + 1, "image_id", TABLE.columns)
    with pytest.raises(NewerTable, match="update synthvlm"):
        list(huggingface.read(huggingface.encode(rows_of(["one"]), later), TABLE, "shelf/train"))
