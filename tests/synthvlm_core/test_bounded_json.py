"""JSON from outside: what Python's parser says of sound files, and bounds on what strange ones make a process hold."""

import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core import bounded_json
from synthvlm_core.bounded_json import BadJson

MOST = 1000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=10,
)


def items(text: str, most: int = MOST, chunk: int = 7) -> list[Any]:
    """The items of a text that is read a few characters at a time."""
    before, bounded_json.CHUNK = bounded_json.CHUNK, chunk
    try:
        return list(bounded_json.items(io.StringIO(text), most))
    finally:
        bounded_json.CHUNK = before


@given(st.lists(VALUES), st.integers(1, 50), st.sampled_from([None, 1]))
def test_a_list_is_read_as_pythons_own_parser_reads_it(values: list[Any], chunk: int, indent: int | None) -> None:
    text = json.dumps(values, indent=indent)
    assert items(text, len(text), chunk) == values


@pytest.mark.parametrize("chunk", range(1, 12))
def test_a_number_that_is_cut_by_the_end_of_what_was_read_goes_on(chunk: int) -> None:
    assert items("[0.5e-3,-12e+10 , 7]", 20, chunk) == [0.5e-3, -12e10, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON list"),
        ("{}", "not a JSON list"),
        ("[", "not JSON"),
        ("[1", "does not end"),
        ("[1,", "not JSON"),
        ("[1,]", "not JSON"),
        ("[1 2]", "'2' where a comma"),
        ("[1] 2", "stands behind the list"),
        ('["a', "not JSON"),
        ('[{"a": 1,, "b": 2}]', "not JSON"),
        ("[tru]", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"a":' * 100_000, "nested too deeply|more than 1,000 characters"),
        ("[" + "1" * 66_000 + "]", "too many digits|more than 1,000 characters"),
        ("[" + "1" * 66_000, "too many digits|more than 1,000 characters"),
        ('["' + "a" * 2_000 + '"]', "more than 1,000 characters"),
        ('["' + "a" * 2_000, "more than 1,000 characters"),
        ("[[" + "1," * 1_000 + "1]]", "more than 1,000 characters"),
    ],
)
def test_what_is_no_list_or_too_much_is_told_in_words(text: str, message: str) -> None:
    for chunk in (7, 2**20):
        with pytest.raises(BadJson, match=message):
            items(text, chunk=chunk)


def test_bytes_that_are_no_text_are_told_in_words() -> None:
    file = io.TextIOWrapper(io.BytesIO(b'["\xff"]'), encoding="utf-8")
    with pytest.raises(BadJson, match="not UTF-8"):
        list(bounded_json.items(file, MOST))
    for data, message in (
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 66_000, "too many digits"),
        (b"[1", "not JSON"),
    ):
        with pytest.raises(BadJson, match=message):
            bounded_json.loads(data)


def test_lines_are_bounded() -> None:
    assert list(bounded_json.lines(io.BytesIO(b"a\n\nbc"), 3)) == [(1, b"a\n"), (2, b"\n"), (3, b"bc")]
    with pytest.raises(BadJson, match="more than 3 bytes in a line"):
        list(bounded_json.lines(io.BytesIO(b"a\nbcde\n"), 3))


READING = """
import sys
from synthvlm_core import bounded_json
try:
    with open(sys.argv[1], encoding="utf-8") as file:
        print(sum(1 for _ in bounded_json.items(file, 4_000_000)))
except bounded_json.BadJson as error:
    print(error)
# the most of this program alone: getrusage would tell that of the process that started it, too
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(
    ("piece", "times", "told"),
    [
        ("[", 200_000, "nested too deeply"),
        ('{"a":', 200_000, "nested too deeply"),
        ('["', 1, "more than 4,000,000 characters"),
        ("[[[],", 1, "more than 4,000,000 characters"),
        ("[ ", 1, "not JSON"),
    ],
)
def test_memory_stays_bounded_whatever_the_file(tmp_path: Path, piece: str, times: int, told: str) -> None:
    """200 kB of brackets took 20 GB; of an endless value no more is held than a row may have."""
    path = tmp_path / "mix.json"
    endless = {'["': "a", "[[[],": "[],", "[ ": " "}
    path.write_text(
        "[" * (piece[0] == "{") + piece * times + endless.get(piece, "") * (20_000_000 if times == 1 else 0)
    )
    done = subprocess.run(
        [sys.executable, "-c", READING, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30)),  # one thread
    )
    said, megabytes = done.stdout.splitlines()
    assert told in said
    assert int(megabytes) < 600
