from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caption_files import fails, parquet, picked, read, source

from synthvlm_core.captions import files, judging
from synthvlm_core.captions.readers import parquet as parquet_reader

POOLS: list[pa.MemoryPool] = []  # kept for good: what they gave out points back to them


@pytest.mark.parametrize(
    ("length", "rows", "words", "allowed"),
    [(200_000, 1000, 1, 150), (20_000_000, 20, 1, 150), (200_000, 1000, 20, 150)],
)
def test_long_texts_of_a_small_parquet_are_not_held_in_memory(
    tmp_path: Path, length: int, rows: int, words: int, allowed: int
) -> None:
    long = pa.DictionaryArray.from_arrays(
        pa.array([row % words for row in range(rows)], pa.int32()),
        pa.array([f"{n}é" * (length // 3) for n in range(words)]),
    )
    part = pa.table({"TEXT": pa.concat_arrays([long.slice(0, 0), long]), "URL": ["u"] * rows})
    with pq.ParquetWriter(tmp_path / "part.parquet", part.schema, compression="zstd", store_schema=False) as file:
        file.write_table(pa.table({"TEXT": ["first"], "URL": [None]}).cast(part.schema))
        file.write_table(part)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        wanted = source("laion", "part.parquet")
        [found] = files.input_files(wanted, str(tmp_path))
        batches = list(judging.read(wanted, found))
    finally:
        pa.set_memory_pool(pa.default_memory_pool())
    assert pool.max_memory() < allowed << 20
    assert [text for batch in batches for text in batch.captions["text"].to_pylist()] == ["first"]
    bad = [row for batch in batches for row in batch.quarantined.to_pylist()]
    assert [row["row"] for row in bad] == list(range(1, rows + 1))
    assert {row["reason"] for row in bad} == {"caption longer than 4096 characters"}
    assert {len(row["content"]) for row in bad} == {4096}


def test_a_parquet_that_unpacks_without_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_reader, "_MAX_UNPACKED", 10 << 20)
    texts = pa.table({"TEXT": [f"{number}" + "a" * 300_000 for number in range(100)]})
    pq.write_table(texts, tmp_path / "part.parquet", compression="zstd", use_dictionary=False)
    fails(tmp_path, r"part\.parquet: column TEXT unpacks \d+ bytes to 3000\d{4}", "laion", "part.parquet")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_texts_of_every_encoding_come_in_their_order(tmp_path: Path, kind: pa.DataType) -> None:
    texts = [None if n % 11 == 0 else f"text {n % 700}" if n < 3000 else f"text {n}" for n in range(7000)]
    column = pa.array(texts).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(texts, kind)
    pq.write_table(
        pa.table({"TEXT": column}),
        tmp_path / "part.parquet",
        row_group_size=3500,
        dictionary_pagesize_limit=8000,  # then the rest of a row group stands outside of the dictionary
        write_batch_size=100,
    )
    captions, quarantined = read(tmp_path, "laion", "part.parquet", batch_rows=3000)
    assert picked(captions, "row", "text") == [(row, text) for row, text in enumerate(texts) if text is not None]
    assert len(quarantined) == 637


def test_missing_columns_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "part.parquet", url=["u"], alt=["a"])
    fails(
        tmp_path,
        r"part\.parquet: has columns url, alt and none named text or caption\. Rename",
        "laion",
        "part.parquet",
    )
    parquet(tmp_path / "number.parquet", url=["u"], text=[1])
    fails(tmp_path, r"column text holds int64, not text", "laion", "number.parquet")
    parquet(tmp_path / "lists.parquet", url=["u"], text=[["a"]])
    fails(tmp_path, r"lists\.parquet: column text holds list", "laion", "lists.parquet")
    parquet(tmp_path / "captions.parquet", uid=["a"], one=["1"], two=["2"])
    parquet(tmp_path / "meta.parquet", uid=["a"])
    more = {"metadata_files": ["meta.parquet"]}
    fails(tmp_path, "exactly one caption column", "datacomp_blip2", "captions.parquet", **more)
    parquet(tmp_path / "captions.parquet", uid=["a"], one=["1"])
    fails(tmp_path, r"meta\.parquet: has columns uid and none named url", "datacomp_blip2", "captions.parquet", **more)


@pytest.mark.parametrize("kind", ["laion", "img2dataset"])
def test_a_cut_or_foreign_parquet(tmp_path: Path, kind: str) -> None:
    parquet(tmp_path / "whole.parquet", url=["u"] * 1000, text=["t"] * 1000)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("cut.parquet", "empty.parquet"):
        fails(tmp_path, rf"{name}: cannot be read: .*download or write it again", kind, name)
