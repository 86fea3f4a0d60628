import gzip
import io
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from caption_files import fails, parquet, picked, read, source, tar
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.captions import files, judging


def test_img2dataset_as_tar_and_as_parquet(tmp_path: Path) -> None:
    about = json.dumps({"key": "000", "url": "http://a", "caption": "a ball", "similarity": 0.25}).encode()
    tar(
        tmp_path / "0.tar",
        [("000.jpg", b"\xff\xd8" * 5000), ("000.txt", b"a ball\n"), ("000.json", about), ("d.1/001.txt", b"bare")],
    )
    parquet(tmp_path / "0.parquet", key=["000"], caption=["a ball"], url=["http://a"], status=["success"])
    captions, _ = read(tmp_path, "img2dataset", "0.tar")
    assert picked(captions, "row", "text", "image_url", "image_uid", "published_similarity") == [
        (0, "a ball\n", "http://a", "000", 0.25),
        (1, "bare", None, "d.1/001", None),
    ]
    captions, _ = read(tmp_path, "img2dataset", "0.parquet")
    assert picked(captions, "text", "image_url", "image_uid") == [("a ball", "http://a", "000")]


def test_names_of_members_do_not_become_reasons(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w", encoding="utf-8", errors="surrogateescape") as archive:
        for name in ("0.txt", "1.e1", "2.e2", "3.\udcff", "\udcff.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
    captions, quarantined = read(tmp_path, "img2dataset", "0.tar")
    assert picked(captions, "row", "image_uid") == [(0, "0")]
    without = [(row, "sample without .txt", f"{row}".encode()) for row in (1, 2, 3)]
    assert picked(quarantined, "row", "reason", "content") == [*without, (4, "image id is not UTF-8", b"text")]


def test_samples_that_are_not_whole(tmp_path: Path) -> None:
    members = [
        ("0.jpg", b"image"),
        ("0.json", b"{}"),
        ("1.txt", b"good"),
        ("2.txt", b"y" * (3 << 20)),
        ("3.txt", b"text"),
        ("3.json", b"{broken"),
        ("4.txt", b"text"),
        ("4.json", b"[" * 200_000),
        ("5", b"no extension"),
    ]
    tar(tmp_path / "0.tar", members)
    captions, quarantined = read(tmp_path, "img2dataset", "0.tar")
    assert picked(captions, "row", "text") == [(1, "good")]
    assert [row for (row,) in picked(quarantined, "row")] == [0, 2, 3, 4, 5]
    reasons = [reason for (reason,) in picked(quarantined, "reason")]
    assert reasons[0] == reasons[4] == "sample without .txt"
    assert reasons[1].startswith(".txt longer than")
    assert reasons[2] == reasons[3] == ".json is not a JSON object"
    assert all(len(row["content"]) <= 4096 for row in quarantined)


def test_damaged_archives(tmp_path: Path) -> None:
    tar(tmp_path / "whole.tar", [(f"{n}.txt", b"a ball" * 200) for n in range(9)])
    whole = (tmp_path / "whole.tar").read_bytes()
    member = 512 + 1536  # header and padded content
    for cut in (100, 512, member - 10, 2 * member, 2 * member + 100, 2 * member + 600):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        fails(tmp_path, r"cut\.tar: cannot be read.*download or write it again", "img2dataset", "cut.tar")
    for content in (b"", b"no archive" * 100, whole[:member] + b"garbage!" * 64 + whole[member + 512 :]):
        (tmp_path / "odd.tar").write_bytes(content)
        fails(tmp_path, r"odd\.tar: cannot be read", "img2dataset", "odd.tar")


def test_a_hostile_header_is_not_read_into_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    (tmp_path / "bomb.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    fails(tmp_path, "a header of 5368709120 bytes", "img2dataset", "bomb.tar")


@pytest.mark.parametrize("size", [2**60, -5])
@pytest.mark.parametrize("stated", ["header", "extension"])
def test_a_member_of_an_impossible_size_is_refused(tmp_path: Path, size: int, stated: str) -> None:
    member = tarfile.TarInfo("0.jpg")
    if stated == "header":
        member.size = size
        header = member.tobuf(tarfile.GNU_FORMAT)
    else:
        member.pax_headers = {"size": str(size)}
        header = member.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "odd.tar").write_bytes(header + b"\0" * 10240)
    fails(tmp_path, rf"odd\.tar: cannot be read as tar: .* {size} bytes\. The archive", "img2dataset", "odd.tar")


@pytest.mark.parametrize(
    "about",
    [
        {"map": "a,b", "size": "10"},
        {"major": "1", "minor": "0", "name": "x", "realsize": "10"},
        {"major": "1", "minor": "0", "name": "x", "realsize": "ten"},
    ],
)
def test_sparse_members_are_refused(tmp_path: Path, about: dict[str, str]) -> None:
    member = tarfile.TarInfo("0.txt")
    member.size = 512
    member.pax_headers = {f"GNU.sparse.{name}": value for name, value in about.items()}
    (tmp_path / "odd.tar").write_bytes(member.tobuf(tarfile.PAX_FORMAT) + b"junk" * 128 + b"\0" * 10240)
    fails(tmp_path, r"odd\.tar: cannot be read as tar: .*download", "img2dataset", "odd.tar")


def test_headers_before_headers_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "odd.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 2000)
    fails(tmp_path, r"odd\.tar: cannot be read as tar", "img2dataset", "odd.tar")


def sample(number: int) -> list[tuple[str, bytes]]:
    about = json.dumps({"url": f"http://{number}", "key": f"k{number}"}).encode()
    return [(f"{number}.jpg", b"x"), (f"{number}.txt", f"text {number}".encode()), (f"{number}.json", about)]


@given(st.permutations([member for number in range(4) for member in sample(number)]))
def test_members_of_a_sample_may_stand_apart(members: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tar(Path(folder) / "0.tar", members)
        captions, quarantined = read(Path(folder), "img2dataset", "0.tar")
    assert not quarantined
    found = picked(sorted(captions, key=lambda row: row["text"]), "text", "image_url", "image_uid")
    assert found == [(f"text {n}", f"http://{n}", f"k{n}") for n in range(4)]
    first = list(dict.fromkeys(name.partition(".")[0] for name, _ in members))
    assert [text for (text,) in picked(captions, "text")] == [f"text {number}" for number in first]


def test_names_that_come_twice_are_two_samples(tmp_path: Path) -> None:
    def named(url: str) -> bytes:
        return json.dumps({"url": url}).encode()

    for order, expected in {
        "tjtj": [("1", "u1"), ("2", "u2")],
        "t.t.j.j": [("1", "u1"), ("2", "u2")],
        "tj.tj": [("1", "u1"), ("2", "u2")],
        "t.tj": [("1", None), ("2", "u1")],
        "tt": [("1", None), ("2", None)],
    }.items():
        counts = {"t": 0, "j": 0}
        members = []
        for letter in order:
            if letter == ".":
                members.append(("other.txt", b"other"))
                continue
            counts[letter] += 1
            content = str(counts[letter]).encode() if letter == "t" else named(f"u{counts[letter]}")
            members.append((f"0.{'txt' if letter == 't' else 'json'}", content))
        tar(tmp_path / "0.tar", members)
        captions, quarantined = read(tmp_path, "img2dataset", "0.tar")
        assert [row for row in picked(captions, "text", "image_url") if row[0] != "other"] == expected
        assert not quarantined


def test_what_nobody_can_assign_stays_as_it_stands(tmp_path: Path) -> None:
    parts = [("0.txt", b"one"), ("0.json", b"{}"), ("x.txt", b"x"), ("0.txt", b"two"), ("0.txt", b"three")]
    tar(
        tmp_path / "0.tar",
        [*parts, ("x2.txt", b"x"), ("0.json", b"{}"), ("y.txt", b"y"), ("0.json", b"{}"), ("0.json", b"{}")],
    )
    captions, quarantined = read(tmp_path, "img2dataset", "0.tar")
    assert [text for (text,) in picked(captions, "text")].count("x") == 2
    assert {"one", "two", "three"} <= {text for (text,) in picked(captions, "text")}
    assert {reason for (reason,) in picked(quarantined, "reason")} <= {"sample without .txt"}


def test_a_desktops_litter_and_other_members_are_told_and_tear_nothing_apart(tmp_path: Path) -> None:
    members = []
    for number in range(3):
        for name, content in sample(number):
            members += [(f"./._{name}", b"\0\5\x16\7"), (f"./{name}", content)]
    tar(tmp_path / "0.tar", [("./.DS_Store", b"x"), ("__MACOSX/0.txt", b"x"), *members])
    wanted = source("img2dataset", "0.tar")
    [file] = files.input_files(wanted, str(tmp_path))
    [batch] = judging.read(wanted, file)
    assert batch.captions["image_url"].to_pylist() == ["http://0", "http://1", "http://2"]
    assert batch.quarantined.num_rows == 0
    assert batch.in_file == 3
    assert batch.unused == ("11 hidden members", "3 members .jpg")


def test_links_are_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name, kind in (("0.txt", tarfile.REGTYPE), ("1.txt", tarfile.LNKTYPE), ("2.txt", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "" if kind == tarfile.REGTYPE else "0.txt"
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"text"))
        pipe = tarfile.TarInfo("3.txt")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    captions, quarantined = read(tmp_path, "img2dataset", "0.tar")
    assert picked(captions, "row", "text") == [(0, "text")]
    assert picked(quarantined, "row", "reason") == [(n, ".txt is a link to another member") for n in (1, 2)]


def test_a_key_that_stands_twice_is_no_key(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", [("0.txt", b"a"), ("0.json", b'{"url": "a", "url": "b"}')])
    _, quarantined = read(tmp_path, "img2dataset", "0.tar")
    assert picked(quarantined, "reason") == [(".json holds a key twice",)]


def test_a_packed_archive(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", sample(0))
    (tmp_path / "0.tar.gz").write_bytes(gzip.compress((tmp_path / "0.tar").read_bytes()))
    captions, _ = read(tmp_path, "img2dataset", "0.tar.gz")
    assert picked(captions, "text") == [("text 0",)]
