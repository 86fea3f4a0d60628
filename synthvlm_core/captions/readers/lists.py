r"""The items of one list of a JSON object of any length, in bounded memory.

Belongs here: the grammar of JSON as far as an object of parallel lists needs it. Does not belong here: which lists
there are and what items mean (sbu.py).

A foreign file decides what a parser holds: the number of 66,000 digits that ends a C parser's process, a text without
end, lists within lists. Here nothing nests on the stack, a token longer than `limit` comes as its first bytes, and of a
list or an object among the items only its beginning is kept.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from synthvlm_core.captions.readers import sniffing
from synthvlm_core.captions.readers.opening import blame
from synthvlm_core.captions.readers.rows import CONTENT_BYTES, MAX_CELL_BYTES
from synthvlm_core.parts.source import Unreadable

REMEDY = "An sbu source is one JSON object with lists image_urls and captions, or text files with metadata_files"
MAX_DEPTH = 1 << 20
MAX_LISTS = 100  # keys of the outermost object that are remembered
_BLOCK = 1 << 20
_ITEM = re.compile(rb'[ \t\r\n]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t\r\n]*+([,\]])', re.DOTALL)
# Not possessive as a whole: before 3.11.5 Python then keeps what a last, unfinished repetition took (gh-106052). And
# bounded, for each repetition holds memory to return to.
_ITEMS = re.compile(rb'(?:[ \t\r\n]*+"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\r\n]*+,){1,10000}', re.DOTALL)
_STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")
_WORD_END = re.compile(rb"[^A-Za-z0-9+.\-]")
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = (b"true", b"false", b"null")


class NotText(bytes):
    """The beginning of an item that is a number, a word, a list or an object."""


class Overlong(bytes):
    """The beginning of a string that was too long to hold."""


class Broken(Exception):
    """A file that is no JSON object; the message says where and why."""


class Lists:
    """One pass over a JSON object."""

    def __init__(self, url: str, handle: Any, limit: int) -> None:
        """Args:
        limit: bytes a string among the items may have.
        """
        self._url, self._handle, self._limit = url, handle, max(limit, MAX_CELL_BYTES)
        self._held, self._place, self._before = b"", 0, 0
        self._start, self._over = b"", False
        self.keys: dict[str, bool] = {}
        """Keys of the object met so far, and whether a list stands there."""

    def items(self, key: str) -> Iterator[bytes | None]:
        """The items of the lists under `key`: the bytes of a text, None for null, `NotText` or `Overlong`.

        Raises:
            Unreadable: if the file is no JSON object, possibly after some items.
        """
        try:
            yield from self._object(key)
        except Broken as error:
            seen = "" if self._start.lstrip().startswith(b"{") else f"; it looks like {sniffing.form(self._start)}"
            raise Unreadable(self._url, f"is not readable as JSON: {error}{seen}", REMEDY) from error

    def _object(self, wanted: str) -> Iterator[bytes | None]:
        if self._peek() == b"\xef":
            self._expect(b"\xef\xbb\xbf")
        self._expect(b"{")
        if self._peek() == b"}":
            self._place += 1
        else:
            while True:
                key = self._key()
                self._expect(b":")
                is_list = self._peek() == b"["
                if len(self.keys) < MAX_LISTS or key == wanted:
                    self.keys[key] = is_list
                if is_list and key == wanted:
                    yield from self._list()
                else:
                    self._pass_over()
                if self._take(b",}") == b"}":
                    break
        if self._peek(end=True):
            raise self._broken("something follows the end of the object")

    def _list(self) -> Iterator[bytes | None]:
        self._expect(b"[")
        if self._peek() == b"]":
            self._place += 1
            return
        while True:
            while found := _ITEM.match(self._held, self._place):  # nearly every item, at the speed of one match
                string = found[1]
                if len(string) > self._limit:
                    break
                self._place = found.end()
                yield self._decoded(string) if b"\\" in string else string
                if found[2] == b"]":
                    return
            yield self._value()
            if self._take(b",]") == b"]":
                return

    def _value(self) -> bytes | None:
        """Any value, at its full length or its beginning."""
        first = self._peek()
        if first == b'"':
            found = self._string(self._limit)
            return found if type(found) is Overlong else self._decoded(found)
        if first in (b"[", b"{"):
            start = self._held[self._place : self._place + 80]
            self._pass_over()
            return NotText(start)
        word = self._word()
        return None if word == b"null" else NotText(word)

    def _pass_over(self) -> None:
        """A value that nobody wants. What nests is counted, a bit for each level, and never called."""
        opened = bytearray()
        while True:
            if opened[-1:] == b"[" and (texts := _ITEMS.match(self._held, self._place)):  # all that are at hand
                self._place = texts.end()
            first = self._peek()
            if first in (b"[", b"{"):
                self._place += 1
                opened += first
                if len(opened) > MAX_DEPTH:
                    raise self._broken(f"lists or objects nest more than {MAX_DEPTH} deep")
                if self._peek() != (b"]" if first == b"[" else b"}"):
                    if first == b"{":
                        self._key()
                        self._expect(b":")
                    continue
                self._place += 1
                opened.pop()
            elif first == b'"':
                self._string(0)
            else:
                self._word()
            while opened:
                in_list = opened[-1:] == b"["
                if self._take(b",]" if in_list else b",}") == b",":
                    if not in_list:
                        self._key()
                        self._expect(b":")
                    break
                opened.pop()
            if not opened:
                return

    def _key(self) -> str:
        if self._peek() != b'"':
            raise self._broken("a key is missing")
        return self._decoded(self._string(MAX_CELL_BYTES)).decode("utf-8", "replace")

    def _string(self, limit: int) -> bytes:
        """What stands between the quotes; the beginning of what is longer than `limit`."""
        if (found := _STRING.match(self._held, self._place)) is None and self._refill():
            found = _STRING.match(self._held, self._place)
        while found is None and len(self._held) - self._place <= limit and self._refill():
            found = _STRING.match(self._held, self._place)
        if found is not None:
            self._place = found.end()
            return found[1] if len(found[1]) <= max(limit, CONTENT_BYTES) else Overlong(found[1][:CONTENT_BYTES])
        start = Overlong(self._held[self._place + 1 : self._place + 1 + CONTENT_BYTES])
        self._place += 1
        while True:
            found = _REST_OF_STRING.match(self._held, self._place)
            assert found is not None  # it matches nothing, too
            self._place = found.end()
            if self._held.startswith(b'"', self._place):
                self._place += 1
                return start
            if not self._refill():
                raise self._broken("it ends within a string")

    def _word(self) -> bytes:
        """A number or one of three words; of a number longer than any only the beginning."""
        word, digits = b"", 0
        while True:
            found = _WORD_END.search(self._held, self._place)
            end = found.start() if found else len(self._held)
            piece = self._held[self._place : end]
            digits += len(piece)
            word += piece[: CONTENT_BYTES - len(word)]
            self._place = end
            if found is not None or not self._refill():
                break
        known = word in _WORDS or (_NUMBER.match(word) if digits > len(word) else _NUMBER.fullmatch(word))
        if not known:
            raise self._broken(f"{ascii(word[:40].decode('utf-8', 'replace')) if word else 'a value'} is not expected")
        return word

    def _decoded(self, string: bytes) -> bytes:
        """The text of a string; half a surrogate pair, legal as an escape, makes it no UTF-8, which is told later."""
        if b"\\" not in string:
            return string
        if type(string) is Overlong:
            return string
        try:
            text: str = json.loads(f'"{string.decode("utf-8", "surrogateescape")}"', strict=False)
        except ValueError as error:
            raise self._broken(f"a string with the escape {ascii(string[:40])[1:]}") from error
        return text.encode("utf-8", "surrogatepass")

    def _peek(self, *, end: bool = False) -> bytes:
        """The next byte that is no space; none at the end of the file, if that may come."""
        while True:
            found = _NOT_SPACE.search(self._held, self._place)
            if found is not None:
                self._place = found.start()
                return found[0]
            self._place = len(self._held)
            if not self._refill():
                if end:
                    return b""
                raise self._broken("it ends too early")

    def _take(self, allowed: bytes) -> bytes:
        found = self._peek()
        if found not in allowed:
            raise self._broken(f"{ascii(found)[1:]} stands where {' or '.join(map(chr, allowed))} must")
        self._place += 1
        return found

    def _expect(self, wanted: bytes) -> None:
        for number in range(len(wanted)):
            self._take(wanted[number : number + 1])

    def _refill(self) -> bool:
        """Fetch more and drop what was read; False at the end of the file."""
        if self._over:
            return False
        with blame(self._url):
            block = self._handle.read(_BLOCK)
        self._over = not block
        self._start = self._start or block[: sniffing.HEAD]
        self._before += self._place
        self._held, self._place = self._held[self._place :] + block, 0
        return bool(block)

    def _broken(self, what: str) -> Broken:
        return Broken(f"{what} (byte {self._before + self._place})")
