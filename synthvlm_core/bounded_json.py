"""JSON that comes from outside, one value at a time, never more of it than a caller allows.

Belongs here: bounds on what a file may make the process hold, and errors that say what was too much. Does not belong
here: what values mean and where they stand (the callers add file and row).

Python's own parser is used: it refuses nesting beyond the interpreter's depth and integers of more than 4,300 digits
instead of growing or crashing, and needs memory in proportion to the text, which is bounded here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO, TypeGuard

from synthvlm_core.errors import Mendable

CHUNK = 2**20
"""Characters read at once."""
_BLANK = re.compile(r"[ \t\r\n]*")
_NEAR = 16
"""An error this near to the end of what was read may be that the rest is missing."""


class BadJson(Mendable):
    """What is wrong, in words, without the place."""


def loads(text: str | bytes) -> Any:
    """One JSON value of a text that is bounded already. Raises BadJson if it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise BadJson("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise BadJson(f"not UTF-8 ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON ({error.msg} at character {error.pos})") from error
    except ValueError as error:
        raise BadJson("a number of too many digits") from error


def is_text(value: Any) -> TypeGuard[str]:
    """Whether a JSON value is text in whole characters; JSON can spell halves of them, which no tokenizer takes."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def lines(file: BinaryIO, most: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 1. Raises BadJson at one of more than `most` bytes."""
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            raise BadJson(f"more than {most:,} bytes in a line")
        yield number, line


def items(file: TextIO, most: int) -> Iterator[Any]:
    """The items of a JSON list, each read when it is asked for.

    Args:
        file: opened for UTF-8 at its beginning.
        most: characters of an item.

    Raises:
        BadJson: at the first item that is no JSON, is nested too deeply, has a number of too many digits or is too
            large, and where the list is none or does not end.
    """
    found = _Buffer(file, most)
    if found.peek() != "[":
        raise BadJson("not a JSON list")
    found.at += 1
    if found.peek() != "]":
        while True:
            yield found.item()
            after = found.peek()
            found.at += 1
            if after == "]":
                break
            if after != ",":
                raise BadJson(f"{after!r} where a comma or the end of the list belongs" if after else "it does not end")
            found.peek()
    else:
        found.at += 1
    if found.peek():
        raise BadJson("something stands behind the list")


class _Buffer:
    """A part of a file, from the next value on."""

    def __init__(self, file: TextIO, most: int) -> None:
        self._file, self._most = file, most
        self._text, self.at = "", 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no blank, "" at the end."""
        while True:
            blank = _BLANK.match(self._text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self._text):
                return self._text[self.at]
            if self._ended:
                return ""
            self._read()

    def item(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self.at)
            except RecursionError:
                raise BadJson("nested too deeply") from None
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _NEAR or error.msg.startswith("Unterminated string")
                if self._ended or not cut:
                    raise BadJson(f"not JSON ({error.msg})") from error
            except ValueError as error:
                raise BadJson("a number of too many digits") from error
            else:
                may_go_on = isinstance(value, int | float) and end > len(self._text) - _NEAR  # as 0 of 0.5e-3
                if self._ended or not may_go_on:
                    if end - self.at > self._most:
                        raise BadJson(f"more than {self._most:,} characters")
                    self.at = end
                    return value
            if len(self._text) - self.at > self._most:
                raise BadJson(f"more than {self._most:,} characters")
            self._read()

    def _read(self) -> None:
        """Read as much again as is held, so that a long value is not parsed from its beginning too often."""
        held = self._text[self.at :]
        try:
            more = self._file.read(max(CHUNK, len(held)))
        except UnicodeDecodeError as error:
            raise BadJson(f"not UTF-8 ({error.reason})") from error
        self._text, self.at, self._ended = held + more, 0, not more
