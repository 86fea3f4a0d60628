"""JSON lines as people have them, with a column map."""

import json
from pathlib import Path
from typing import Any

import pytest
from caption_files import fails, picked, read
from hypothesis import given
from hypothesis import strategies as st

COLUMNS = {"text": "caption", "url": "link", "uid": "id", "similarity": "score"}


def test_keys_are_found_by_name(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 7, "caption": 'a "red"\nball', "link": "http://a", "score": 0.31, "more": {"x": [1]}},
        {"caption": "é", "id": "x", "link": None, "score": "0.5"},
        {"caption": "a cat", "link": "", "id": True, "score": True},
    ]
    lines = "\r\n".join(json.dumps(row) for row in rows)
    (tmp_path / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    captions, quarantined = read(tmp_path, "jsonl", "mine.jsonl", columns=COLUMNS)
    assert not quarantined
    assert picked(captions, "row", "text", "image_url", "image_uid", "published_similarity") == [
        (0, 'a "red"\nball', "http://a", "7", 0.31),
        (1, "é", None, "x", 0.5),
        (2, "a cat", None, None, None),
    ]


BAD = [
    (b'{"caption": "good"}', None),
    (b'{"caption": "good", "score": NaN}', None),
    (b'{"caption": "good", "score": ' + b"9" * 400 + b"}", None),
    (b'{"caption": "good", "score": 1e999, "id": 1.5}', None),
    (b"", "empty line"),
    (b"  ", "empty line"),
    (b"caption", "not JSON"),
    (b'{"caption": "cut', "not JSON"),
    (b'{"caption": "two"} {}', "not JSON"),
    (b'["caption"]', "not a JSON object"),
    (b"null", "not a JSON object"),
    (b'{"text": "other"}', "no key 'caption'"),
    (b'{"caption": null}', "no caption"),
    (b'{"caption": 3}', "caption is no text"),
    (b'{"caption": ["a"]}', "caption is no text"),
    (b'{"caption": "caf\xe9"}', "line is not UTF-8"),
    (b'{"caption": "\\ud83d"}', "caption is not UTF-8"),
    (b'{"caption": "fine", "link": "\\ud83d"}', "image url is not UTF-8"),
    (b'{"caption": "nul\\u0000"}', "caption holds a NUL byte"),
    (b'{"caption": " \\n"}', "caption is empty"),
    (b'{"caption": "good", "n": ' + b"9" * 5000 + b"}", "not JSON"),
    (b'{"caption": "good", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
    ('{"caption": "utf-16"}'.encode("utf-16-le"), "not JSON"),
]


def test_bad_rows_go_to_quarantine_and_shift_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(b"\n".join(line for line, _ in BAD))
    captions, quarantined = read(tmp_path, "jsonl", "mine.jsonl", columns=COLUMNS, batch_rows=5)
    assert picked(captions, "row", "text", "published_similarity") == [
        (0, "good", None),
        (1, "good", None),
        (2, "good", None),
        (3, "good", None),
    ]
    bad = [(row, reason) for row, (_, reason) in enumerate(BAD) if reason]
    assert picked(quarantined, "row", "reason") == bad
    assert [row["content"] for row in quarantined] == [line[:4096] for line, reason in BAD if reason]


def test_a_line_too_long_to_hold_is_one_bad_row(tmp_path: Path) -> None:
    long = b'{"caption": "' + b"a" * (3 << 20) + b'"}'
    (tmp_path / "mine.jsonl").write_bytes(long + b'\n{"caption": "last"}')
    captions, quarantined = read(tmp_path, "jsonl", "mine.jsonl", columns={"text": "caption"})
    assert picked(captions, "row", "text") == [(1, "last")]
    assert picked(quarantined, "row", "reason") == [(0, "line longer than 1048576 bytes")]


@pytest.mark.parametrize("count", [1, 20, 500])
def test_a_key_that_no_object_has_is_named_with_the_remedy(tmp_path: Path, count: int) -> None:
    (tmp_path / "mine.jsonl").write_text('not json\n{"title": "x", "ur\\u00e9": "u"}\n' * count)
    fails(
        tmp_path,
        r"mine\.jsonl: none of its first objects has a key 'caption'; they have 'title', 'ur\\xe9'\. "
        r"Correct columns\.text",
        "jsonl",
        "mine.jsonl",
        columns={"text": "caption"},
    )


def test_a_file_without_objects_has_no_captions(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(b"\n")
    assert [len(rows) for rows in read(tmp_path, "jsonl", "mine.jsonl", columns=COLUMNS)] == [0, 1]
    (tmp_path / "mine.jsonl").write_bytes(b"")
    assert read(tmp_path, "jsonl", "mine.jsonl", columns=COLUMNS) == ([], [])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"caption": st.text(min_size=1, max_size=9)}, optional={"x": st.text() | st.integers() | st.none()}
        ),
        max_size=9,
    ),
    st.booleans(),
)
def test_what_pythons_json_writes_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], escaped: bool
) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    lines = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows)
    (folder / "mine.jsonl").write_bytes(lines.encode())
    captions, quarantined = read(folder, "jsonl", "mine.jsonl", columns={"text": "caption"})
    by_row = {row["row"]: row["text"] for row in captions}
    assert by_row == {n: rows[n]["caption"] for n in by_row}
    assert sorted([*by_row, *(row["row"] for row in quarantined)]) == list(range(len(rows)))
    assert {row["reason"] for row in quarantined} <= {"caption is empty", "caption holds a NUL byte"}
