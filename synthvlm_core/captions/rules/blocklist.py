"""Rule blocklist: how many words and phrases of a list a caption holds.

Beyond the paper: watermarks and stock photos (the list `stock-photos`), brands, names, whatever a file lists. A phrase
is found where no letter or digit adjoins it, in any case; blanks in it stand for any white space.
"""

import hashlib
import re
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from synthvlm_core.captions.rules import word_lists
from synthvlm_core.captions.rules.own_statistic import OwnStatistic, Texts
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent, Location
from synthvlm_core.store import records

STOCK_PHOTOS: Final = "stock-photos"
PHRASES: Final = (
    "123rf", "adobe stock", "alamy", "bigstock", "canstock", "clip art", "clipart", "creative commons",
    "deposit photos", "depositphotos", "dreamstime", "fotolia", "freepik", "getty", "getty images", "gettyimages",
    "hi-res stock", "istock", "istockphoto", "royalty free", "royalty-free", "shutter stock", "shutterstock",
    "stock footage",
    "stock illustration", "stock image", "stock images", "stock photo", "stock photography", "stock photos",
    "stock picture", "stock pictures", "stock vector", "stock video", "unsplash", "vectorstock", "watermark",
    "watermarked",
)  # fmt: skip
"""What captions of stock agencies' pictures say; their pictures bear watermarks."""
MAX_PHRASES: Final = 20_000


class Blocklist(OwnStatistic):
    """Captions without the words of a list."""

    rule: Literal["blocklist"]
    statistic = "blocked_words"
    version = 1
    table = records.BLOCKLIST
    bound = ("max_count", "words")

    words: Annotated[str, Location("word")] = Field(min_length=1)
    """`stock-photos`, or a file with a word or phrase a line (or JSON, as for flagged_words)."""
    max_count: Annotated[int, Field(ge=0), Absent(0)] = 0

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_count)

    def phrases(self, context: Context) -> tuple[str, ...]:
        """The list in lower case, sorted. Raises Mendable if there is none to be had."""
        if self.words == STOCK_PHOTOS:
            return PHRASES
        found = word_lists.phrases(self.words, context.folder)
        if len(found) > MAX_PHRASES:
            raise Mendable(f"{self.words}: {len(found):,} phrases, {MAX_PHRASES:,} is the most")
        return found

    def depends_on(self, context: CaptionContext) -> dict[str, str]:
        return {"phrases": self.content(context)}

    def content(self, context: Context) -> str:
        return hashlib.sha256("\n".join(self.phrases(context)).encode()).hexdigest()

    def problem(self, context: Context) -> str | None:
        try:
            self.phrases(context)
        except Mendable as error:
            return f"words: {error}"
        return None

    def files(self, context: Context) -> dict[str, str]:
        return {"origin": self.words, "sha256": self.content(context)}

    def counted(self, text: str, context: CaptionContext) -> list[str]:
        spelled = " ".join(text.lower().split())
        return [phrase for phrase in self.phrases(context) if _stands_in(phrase, spelled)]

    def measure(self, context: CaptionContext) -> Texts:
        return _Counter(self.phrases(context))


class _Counter:
    """Counts phrases by RE2, whose time is linear in the text."""

    def __init__(self, phrases: tuple[str, ...]) -> None:
        spelled = "|".join(re.sub(r"(\\ |\s)+", r"\\s+", _quoted(phrase)) for phrase in reversed(phrases))
        self._pattern = rf"(?i)(?:^|[^\pL\pN])(?:{spelled})(?:$|[^\pL\pN])"

    def __call__(self, texts: pa.Array) -> pa.Array:
        # a mark between two phrases serves both
        return pc.count_substring_regex(pc.replace_substring_regex(texts, r"([^\pL\pN])", r"\1\1"), self._pattern)


def _stands_in(phrase: str, text: str) -> bool:
    """Whether a phrase occurs with neither letter nor digit beside it."""
    at = text.find(phrase)
    while at >= 0:
        beside = text[max(at - 1, 0) : at] + text[at + len(phrase) : at + len(phrase) + 1]
        if not any(map(str.isalnum, beside)):
            return True
        at = text.find(phrase, at + 1)
    return False


def _quoted(phrase: str) -> str:
    """A phrase as RE2 reads it, every mark doubled as in the text."""
    quoted: list[Any] = []
    for letter in phrase:
        if letter.isalnum():
            quoted.append(letter)
        elif letter.isspace():
            quoted.append(" ")
        else:
            quoted.append(rf"\x{{{ord(letter):x}}}" * 2)
    return "".join(quoted)
