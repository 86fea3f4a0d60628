from pathlib import Path

import pyarrow as pa
import pytest
from caption_files import parquet, picked, read

from synthvlm_core import hashing


def test_laion_as_published(tmp_path: Path) -> None:
    parquet(
        tmp_path / "part.parquet",
        SAMPLE_ID=pa.array([2063701332310.0, None], pa.float64()),
        URL=["http://a.example/1.jpg", None],
        TEXT=[" A red ball ", "two\tcats\n"],
        similarity=[0.31, float("nan")],
    )
    captions, quarantined = read(tmp_path, "laion", "part.parquet")
    assert not quarantined
    first = captions[0]
    assert first == {
        "caption_id": hashing.digest(b"here", b" A red ball "),
        "source": "here",
        "text": " A red ball ",
        "origin": "human",
        "image_url": "http://a.example/1.jpg",
        "image_uid": "2063701332310",
        "published_similarity": 0.31,
        "file": "part.parquet",
        "row": 0,
    }
    assert picked(captions[1:], "text", "image_url", "image_uid", "published_similarity") == [
        ("two\tcats\n", None, None, None)
    ]


@pytest.mark.parametrize("names", [("url", "caption"), ("Url", "text"), ("URL", "Caption")])
def test_laion_in_other_spellings(tmp_path: Path, names: tuple[str, str]) -> None:
    address, text = names
    parquet(tmp_path / "part.parquet", **{"hash": [-7], address: ["http://a"], text: ["a ball"]})
    captions, _ = read(tmp_path, "laion", "part.parquet")
    assert picked(captions, "text", "image_url", "image_uid", "published_similarity") == [
        ("a ball", "http://a", "-7", None)
    ]
