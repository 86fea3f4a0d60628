from pathlib import Path

import pytest
from caption_files import picked, read
from hypothesis import given, settings
from hypothesis import strategies as st


def test_conceptual_captions_differ_in_the_order_of_columns(tmp_path: Path) -> None:
    (tmp_path / "cc3m.tsv").write_bytes(b'a "quoted" ball\thttp://a\r\n\xe2\x80\xa8 half\rline \thttp://b')
    (tmp_path / "cc12m.tsv").write_bytes(b"\xef\xbb\xbfhttp://a\ta ball\n")
    captions, _ = read(tmp_path, "cc3m", "cc3m.tsv")
    assert picked(captions, "row", "text", "image_url") == [
        (0, 'a "quoted" ball', "http://a"),
        (1, "\u2028 half\rline ", "http://b"),
    ]
    captions, _ = read(tmp_path, "cc12m", "cc12m.tsv")
    assert picked(captions, "text", "image_url") == [("a ball", "http://a")]


def test_bad_lines_go_to_quarantine_and_shift_nothing(tmp_path: Path) -> None:
    rows = {
        b"caption\turl": "header line",
        b"good\thttp://a": None,
        b"caf\xe9\thttp://a": "caption is not UTF-8",
        b"good\thttp://\xff": "image url is not UTF-8",
        b"nul\0\thttp://a": "caption holds a NUL byte",
        b"good\thttp://\0": "image url holds a NUL byte",
        b"\thttp://a": "caption is empty",
        " \u3000 \thttp://a".encode(): "caption is empty",
        b"": "empty line",
        b"no url": "not 2 columns",
        b"one\ttwo\tthree": "not 2 columns",
        b"x" * 11 + b"\thttp://a": "caption longer than 10 characters",
        "é".encode() * 10 + b"\tlast": None,
    }
    (tmp_path / "cc.tsv").write_bytes(b"\n".join(rows))
    captions, quarantined = read(tmp_path, "cc3m", "cc.tsv", max_characters=10, batch_rows=4)
    assert picked(captions, "row", "text") == [(1, "good"), (12, "é" * 10)]
    bad = [(row, reason, line) for row, (line, reason) in enumerate(rows.items()) if reason]
    assert picked(quarantined, "row", "reason", "content") == bad


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda text: text.encode() + b"\thttp://a"))
    ),
    ending=st.sampled_from([b"\n", b"\r\n"]),
    batch_rows=st.integers(1, 5),
)
def test_every_line_ends_in_one_table(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ending: bytes, batch_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    # the first line is no magic number of a packed file: hypothesis tries the constants that it finds in our sources
    lines = [b"first\thttp://a", *(line.replace(b"\n", b" ").rstrip(b"\r") for line in lines)]
    (folder / "cc.tsv").write_bytes(b"".join(line + ending for line in lines))
    captions, quarantined = read(folder, "cc3m", "cc.tsv", batch_rows=batch_rows)
    assert sorted(row["row"] for row in captions + quarantined) == list(range(len(lines)))
    for row in captions:
        assert row["text"].encode() + b"\t" + row["image_url"].encode() == lines[row["row"]]
    for row in quarantined:
        assert row["content"] == lines[row["row"]]
