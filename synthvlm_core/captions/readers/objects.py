"""One JSON object from a bounded run of bytes.

Belongs here: what no row may hold. Does not belong here: what keys mean (json_lines.py, img2dataset.py), JSON files
of any length (lists.py).
"""

import json
import re
from typing import Any

_KEYS = re.compile(rb'"[ \t\r\n]*:')


class NotOne(ValueError):
    """Bytes that are no JSON object, or one that cannot be told apart from another; the message is the reason."""


def json_object(content: bytes) -> dict[str, Any]:
    """The object that some bytes are.

    Raises:
        NotOne: if they are none, or a key stands twice in it: nobody knows which one is meant.
    """
    try:
        text = content.decode()
        found = json.loads(text)
        if isinstance(found, dict) and len(_KEYS.findall(content)) > len(found):  # seldom: looked at more closely
            json.loads(text, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise NotOne("not UTF-8") from error
    except NotOne:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: also a number with thousands of digits
        raise NotOne("not JSON") from error
    if not isinstance(found, dict):
        raise NotOne("not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotOne("a key stands twice in the JSON object")
    return found
