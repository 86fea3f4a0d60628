import json
from pathlib import Path

import pytest
from caption_files import fails, picked, read


def test_sbu_as_two_text_files_paired_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    for name, content in {"b.txt": "b0\nb1\n", "a.txt": "a0\n", "1.urls": "u:b0\nu:b1\n", "2.urls": "u:a0"}.items():
        (tmp_path / name).write_text(content)
    captions, _ = read(tmp_path, "sbu", "b.txt", "a.txt", metadata_files=["1.urls", "2.urls"])
    assert picked(captions, "file", "row", "text", "image_url") == [
        ("a.txt", 0, "a0", "u:a0"),
        ("b.txt", 0, "b0", "u:b0"),
        ("b.txt", 1, "b1", "u:b1"),
    ]


def test_sbu_as_one_json_object(tmp_path: Path) -> None:
    listed = {"image_urls": ["u0", None, "u2"], "user_ids": [1, 2, 3], "captions": ["zero", "one", 'a "two"\n']}
    (tmp_path / "sbu.json").write_text(json.dumps(listed))
    captions, _ = read(tmp_path, "sbu", "sbu.json", batch_rows=2)
    assert picked(captions, "row", "text", "image_url") == [(0, "zero", "u0"), (1, "one", None), (2, 'a "two"\n', "u2")]


def test_odd_items_of_a_json_list(tmp_path: Path) -> None:
    (tmp_path / "sbu.json").write_text('{"captions": ["a", null, 3, "\\ud83d"], "image_urls": ["u", "u", "u", "u"]}')
    captions, quarantined = read(tmp_path, "sbu", "sbu.json")
    assert len(captions) + len(quarantined) == 4
    assert picked(quarantined, "row", "reason")[:2] == [(1, "no caption"), (2, "caption is not text")]


@pytest.mark.parametrize("depth", [1, 1500, 50_000])
def test_lists_and_objects_among_the_items_are_passed_over(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    content = (
        f'{{"x": {deep}, "captions": ["a", {deep}, {{"captions": ["b"]}}, "c"], "image_urls": ["u", "v", 1, "w"]}}'
    )
    (tmp_path / "sbu.json").write_text(content)
    captions, quarantined = read(tmp_path, "sbu", "sbu.json")
    assert picked(captions, "row", "text", "image_url") == [(0, "a", "u"), (3, "c", "w")]
    assert picked(quarantined, "row", "reason") == [(1, "caption is not text"), (2, "caption is not text")]


def test_sbu_lists_of_different_lengths(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("1\n2\n")
    (tmp_path / "u.txt").write_text("1\n")
    fails(tmp_path, r"u\.txt: ends after 1 lines", "sbu", "c.txt", metadata_files=["u.txt"])
    fails(tmp_path, "1 caption files but 2 url lists", "sbu", "c.txt", metadata_files=["u.txt", "c.txt"])
    for content, match in {
        '{"captions": ["1"], "image_urls": ["1", "2"]}': "list captions ends after 1 items",
        '{"captions": []}': r"lacks the lists image_urls \(lists it has: captions\)",
        '{"captions": ["1"': "not readable as JSON",
        "a caption per line": "not readable as JSON: .*text files with metadata_files",
    }.items():
        (tmp_path / "sbu.json").write_text(content)
        fails(tmp_path, rf"sbu\.json: .*{match}", "sbu", "sbu.json")
