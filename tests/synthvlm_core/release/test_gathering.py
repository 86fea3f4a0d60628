"""The content hash of a release: over the rows as they will be stored, and what it was from the first."""

import hashlib

import pyarrow as pa

from synthvlm_core.hashing import content_hash
from synthvlm_core.release.gathering import Gathered, with_turns
from synthvlm_core.store import records, sql
from synthvlm_core.store.records import Column

TABLE = records.synthvlm_100k([Column("clip_score", pa.float64(), "cosine")])
INSTRUCTIONS = ("Describe the picture.", "What does the picture show?")


def row(rank: int, picture: bytes) -> dict[str, object]:
    return {
        "rank": rank,
        "image_id": f"{rank:032x}",
        "caption_id": f"{rank + 7:032x}",
        "source": "laion",
        "text": "zwei Kreise über 三角形",
        "clip_score": 0.1 * rank,
        "weighted_score": 0.2 * rank,
        "image": {"bytes": picture, "path": f"{hashlib.sha256(picture).hexdigest()}.png"},
        "k": 1,
        "attempt": 0,
        "seed": 2**63 - 1,
        "definition": "d" * 32,
    }


def test_the_hash_is_known_before_any_picture_is_read() -> None:
    rows = pa.Table.from_pylist([row(1, b"one"), row(2, b"two")], TABLE.schema)
    images = rows["image"].to_pylist()
    narrow = (
        rows.drop_columns("image")
        .append_column("picture_hash", pa.array([hashlib.sha256(image["bytes"]).hexdigest() for image in images]))
        .append_column("path", pa.array([image["path"] for image in images]))
    )
    with sql.scratch() as scratch:
        gathered = Gathered(scratch, scratch.create(narrow.take([1, 0])), TABLE, [])
        found = gathered.content_hash(INSTRUCTIONS, 0)
    assert found == content_hash([with_turns(rows, INSTRUCTIONS, 0)])
    assert found == "b2e9a5aa6b7f8ab8fc2061c08c22c9a9", (
        "another formula renames every release and checkpoint: knowingly or never"
    )


def test_a_picture_and_a_human_turn_show_in_the_hash() -> None:
    rows = pa.Table.from_pylist([row(1, b"one")], TABLE.schema)
    hashes = {
        content_hash([with_turns(rows, INSTRUCTIONS, 0)]),
        content_hash([with_turns(pa.Table.from_pylist([row(1, b"two")], TABLE.schema), INSTRUCTIONS, 0)]),
        content_hash([with_turns(rows, ("What is it?",), 0)]),
    }
    assert len(hashes) == 3
