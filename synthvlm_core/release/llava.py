"""The release in LLaVA's form: one JSON list of conversations beside the image files.

Belongs here: the JSON, its instructions and its file names. Does not belong here: which pairs are released.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from synthvlm_core import hashing

JSON_NAME = "synthvlm.json"


def image_path(image_id: str, extension: str) -> str:
    """Path of an image below `images/`: 4,096 folders, so that none grows too large to list."""
    return f"{image_id[:3]}/{image_id}.{extension}"


def instruction(instructions: Sequence[str], seed: int, caption_id: str) -> str:
    """The human turn of a caption, drawn evenly from the recipe's seed; all images of a caption share it."""
    drawn = int(hashing.digest(b"instruction", str(seed).encode(), caption_id.encode()), 16)
    return instructions[drawn % len(instructions)]


def plain(text: str) -> str:
    """A text that names no picture: `<image>` in a caption or an instruction would be read as another one."""
    return text.replace("<image>", "< image >")


def record(row: dict[str, Any], *, instructions: Sequence[str], seed: int, extension: str) -> dict[str, Any]:
    """One entry as LLaVA's loader reads it: id, image below the image folder, two turns."""
    asked = instruction(instructions, seed, row["caption_id"])
    return {
        "id": row["image_id"],
        "image": image_path(row["image_id"], extension),
        "conversations": [
            {"from": "human", "value": f"{plain(asked)}\n<image>"},
            {"from": "gpt", "value": plain(row["text"])},
        ],
    }


def dumps(records: Iterable[dict[str, Any]]) -> bytes:
    """The JSON list, one record a line."""
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    return f"[\n{lines}\n]\n".encode()
