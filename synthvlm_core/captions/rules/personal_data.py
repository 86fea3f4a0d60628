"""Rule personal_data: how many e-mail addresses, telephone numbers, card numbers and IP addresses a caption holds.

Beyond the paper. Belongs here: what counts as one. Names of people are not looked for: no kept library brings a model
for them in its package.

    email   local part, @, a domain with a dot
    phone   + and 8 to 15 digits, or 10 to 11 digits in groups with a bracket, dot, blank or hyphen between them
    card    13 to 19 digits, alone or in groups of 4 (or 4, 6, 5) by blanks or hyphens, whose check digit is right
            (Luhn, ISO/IEC 7812)
    ip      IPv4 or IPv6, as Python's ipaddress reads it; neither unspecified nor a version number of fewer parts

Candidates are found by RE2, whose time is linear in the text whatever it holds; only captions with one are looked at
closer, with patterns that cannot go back far.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from synthvlm_core.captions.rules.own_statistic import OwnStatistic, Texts
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent
from synthvlm_core.store import records

Kind = Literal["email", "phone", "card", "ip"]
KINDS: Final[tuple[Kind, ...]] = ("email", "phone", "card", "ip")

_CANDIDATES: Final[dict[Kind, str]] = {
    "email": r"[0-9A-Za-z._%+-]@[0-9A-Za-z.-]+\.[A-Za-z]{2}",
    "phone": r"\+[ ().-]{0,2}[0-9]|[0-9)][ .-]{1,2}[0-9]{3}|\([0-9]{2}",
    "card": r"(?:[0-9][ -]?){12}[0-9]",
    "ip": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]?:[0-9A-Fa-f]{0,4}:",
}
_EMAIL: Final = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_PHONE: Final = re.compile(
    r"(?<![\w+])(?:\+ ?\(?\d{1,3}\)?(?:[ .-]?\(?\d{1,4}\)?){2,6}"
    r"|(?:1[ .-])?\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4})(?!\w)"
)
_CARD: Final = re.compile(
    r"(?<![\w-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{5}|\d{13,19})(?![\w-])"
)
_IP: Final = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)"
)


class PersonalData(OwnStatistic):
    """Captions that give nobody away."""

    rule: Literal["personal_data"]
    statistic = "personal_data"
    version = 1
    table = records.PERSONAL_DATA
    bound = ("max_count",)

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1), Absent(list(KINDS))] = KINDS
    max_count: Annotated[int, Field(ge=0), Absent(0)] = 0

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_count)

    def measure(self, context: CaptionContext) -> Texts:
        return _Counter(self.kinds)

    def counted(self, text: str, context: CaptionContext) -> list[str]:
        return [span for kind in self.kinds for span in found(kind, text)]


class _Counter:
    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self._kinds = kinds

    def __call__(self, texts: pa.Array) -> pa.Array:
        counts = [0] * len(texts)
        for kind in self._kinds:
            candidates = pc.indices_nonzero(pc.match_substring_regex(texts, _CANDIDATES[kind]))
            for place, text in zip(candidates.to_pylist(), texts.take(candidates).to_pylist(), strict=True):
                counts[place] += len(found(kind, text))
        return pa.array(counts, pa.float64())


def found(kind: Kind, text: str) -> list[str]:
    """The spans of a text that are personal data of a kind."""
    pattern, holds = _KINDS[kind]
    return [match[0] for match in pattern.finditer(text) if holds(match[0])]


def _is_phone(span: str) -> bool:
    digits = sum(letter.isdecimal() for letter in span)
    return 8 <= digits <= 15 if span.startswith("+") else digits in (10, 11)


def _is_card(span: str) -> bool:
    digits = [int(letter) for letter in span if letter.isdecimal()]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits[::-1])]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _is_ip(span: str) -> bool:
    try:
        return not ipaddress.ip_address(span).is_unspecified
    except ValueError:
        return False


_KINDS: Final[dict[Kind, tuple[re.Pattern[str], Callable[[str], bool]]]] = {
    "email": (_EMAIL, lambda span: True),
    "phone": (_PHONE, _is_phone),
    "card": (_CARD, _is_card),
    "ip": (_IP, _is_ip),
}
