from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_vlm import drawn_pairs

from synthvlm_core.models.vlm import Vlm
from synthvlm_core.training.data import pairs
from synthvlm_core.training.data.pairs import Pairs
from synthvlm_core.training.data.rows import DataError
from synthvlm_core.training.data.words import Words

DRAWN = drawn_pairs(250)


@pytest.fixture
def words(tiny_vlm: Vlm) -> Words:
    return Words(tiny_vlm, 128)


def written(folder: Path, each: int, group: int = 100) -> list[Path]:
    """250 rows in files of `each` rows and row groups of `group`."""
    whole = pa.Table.from_pylist(DRAWN)
    files = []
    for number, at in enumerate(range(0, len(DRAWN), each)):
        files.append(folder / f"train-{number}.parquet")
        pq.write_table(whole.slice(at, each), files[-1], row_group_size=group)
    return files


@pytest.mark.parametrize(("each", "group"), [(250, 100), (130, 100), (33, 7), (250, 250)])
def test_rows_are_numbered_by_rank_however_the_set_is_cut(words: Words, tmp_path: Path, each: int, group: int) -> None:
    rows = Pairs(written(tmp_path, each, group), words)
    assert len(rows) == 250
    for number in (0, 99, 100, 130, 199, 249):
        example = rows[number]
        assert example.ids == words.plain(str(DRAWN[number]["text"]))[0]
        assert example.picture is not None
        assert example.picture.size == (32, 32)
    whole = Pairs(written(tmp_path, 250), words)
    assert (rows.order(np.random.default_rng(0), 8) == whole.order(np.random.default_rng(0), 8)).all()


def test_a_pass_has_every_row_once_and_reads_every_block_once(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "BLOCK_ROWS", 20)
    monkeypatch.setattr(pairs, "POOLED_BLOCKS", 3)
    rows = Pairs(written(tmp_path, 130), words)
    order = rows.order(np.random.default_rng(0), 8)
    assert sorted(order.tolist()) == list(range(250))
    assert order.tolist() != list(range(250))
    assert (order == rows.order(np.random.default_rng(0), 8)).all()
    assert (order != rows.order(np.random.default_rng(1), 8)).any()
    reads: list[int] = []
    read = rows._read
    monkeypatch.setattr(rows, "_read", lambda block: reads.append(block) or read(block))
    for number in order:
        assert rows[int(number)].picture is not None
    assert sorted(reads) == list(range(13))
    assert len(rows._held) <= 3


def test_pairs_that_cannot_be_trained_on_are_named(words: Words, tmp_path: Path) -> None:
    def of(*rows: dict[str, object]) -> Pairs:
        pq.write_table(pa.Table.from_pylist(list(rows)), tmp_path / "a.parquet")
        return Pairs([tmp_path / "a.parquet"], words)

    bad = {"image": {"bytes": b"no picture", "path": "x.png"}, "text": "red", "image_id": "id-1"}
    with pytest.raises(DataError, match=r"^a\.parquet, image id-1: the picture cannot be read"):
        of(bad)[0]
    for missing in ({"image": {"bytes": None, "path": "x"}}, {"image": None}, {"text": None}):
        with pytest.raises(DataError, match=r"^a\.parquet, image id-2: no caption or no picture; materialize"):
            of(DRAWN[0], {**DRAWN[1], **missing, "image_id": "id-2"})[1]
    with pytest.raises(DataError, match=r"^a\.parquet: no column 'image'"):
        of({"image_id": "id", "text": "red"})
    with pytest.raises(DataError, match="a set without pairs"):
        Pairs([], words)
    rows = of(DRAWN[0])
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"^a\.parquet: row group 0 cannot be read .*materialize"):
        rows[0]
    with pytest.raises(DataError, match=r"^a\.parquet: not readable Parquet .*materialize"):
        Pairs([tmp_path / "a.parquet"], words)
