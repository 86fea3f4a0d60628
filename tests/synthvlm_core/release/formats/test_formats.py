"""What holds for every format: its files tell the rows exactly, and are the same whenever and however they are made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.parts.format import Format, SetContext
from synthvlm_core.release.formats import PARTS, huggingface, webdataset

from .conftest import TABLE, Write, context_of, rows_of

EVERY = [cls(format=cls.model_fields["format"].annotation.__args__[0]) for cls in PARTS]
every_format = pytest.mark.parametrize("form", EVERY, ids=lambda form: form.kind_name)
hostile = st.lists(
    st.text(max_size=5) | st.sampled_from(["<image>", "<image", "<", ">", "image>", '"', "\n", "\u2028", "\\", "."])
).map("".join)


@every_format
@given(texts=st.lists(hostile, min_size=1, max_size=7), batch=st.integers(1, 8))
def test_what_is_written_is_read_back(write: Write, form: Format, texts: list[str], batch: int) -> None:
    rows = rows_of(texts)
    files, context = write(form, rows, batch=batch), context_of(rows)
    told = sorted(form.pairs(files.__getitem__, list(files), context), key=lambda pair: pair.image_id)
    assert told == sorted((form.pair(row, context) for row in rows.to_pylist()), key=lambda pair: pair.image_id)
    assert [pair.picture_hash for pair in told] == sorted(row["path"][:64] for row in rows["image"].to_pylist())


@every_format
def test_the_same_rows_are_the_same_bytes(write: Write, form: Format) -> None:
    rows = rows_of(["one", "two", "three", "four"])
    assert write(form, rows, batch=1) == write(form, rows, batch=4)


@every_format
@pytest.mark.parametrize("column", ["text", "image", "clip_score", "seed"])
def test_a_changed_cell_is_told(write: Write, form: Format, column: str) -> None:
    """What the form holds of a row is what it says: LLaVA's has no scores and no seeds."""
    rows = rows_of(["one", "two"])
    changed = rows.to_pylist()
    changed[0][column] = {"text": "uno", "image": changed[1]["image"], "clip_score": 0.25, "seed": 1}[column]
    files, context = write(form, rows), context_of(rows)
    told = set(form.pairs(files.__getitem__, list(files), context))
    agree = told == {form.pair(row, context) for row in changed}
    assert agree == (form.kind_name == "llava" and column in ("clip_score", "seed"))


@pytest.mark.parametrize("module", [huggingface, webdataset], ids=["huggingface", "webdataset"])
@pytest.mark.parametrize("limit", ["ROWS_PER_FILE", "FILE_BYTES"])
def test_a_large_set_is_cut_into_numbered_files(
    write: Write, monkeypatch: pytest.MonkeyPatch, module: object, limit: str
) -> None:
    """Files are not cut where the rows that come at once end."""
    rows = rows_of(["one", "two", "three", "four", "five", "six", "seven"])
    form = next(form for form in EVERY if type(form).__module__ == module.__name__)
    whole = write(form, rows)
    mean = context_of(rows).picture_bytes / 7
    monkeypatch.setattr(module, limit, 3 if limit == "ROWS_PER_FILE" else int(3.5 * mean))
    files = write(form, rows, batch=2)
    [suffix] = {name.rpartition(".")[2] for name in whole}
    assert list(files) == [f"train-0000{number}-of-00003.{suffix}" for number in range(3)]
    counts = [len(list(form.pairs(files.__getitem__, [name], context_of(rows)))) for name in files]
    assert counts == [3, 3, 1]
    assert [name.startswith("train-00000-of-00001") for name in whole] == [True]


@given(rows=st.integers(1, 10**7), mean=st.integers(0, 10**9), most=st.integers(1, 10**4))
def test_files_are_bounded_in_rows_and_bytes(rows: int, mean: int, most: int) -> None:
    context = SetContext(TABLE, rows, rows * mean, "png", ("Describe.",), 0)
    each = context.rows_per_file(most, 200_000_000)
    assert 1 <= each <= most
    assert each == 1 or each * mean <= 200_000_000
    assert each in (most, rows) or (each + 1) * mean > 200_000_000
