"""Rule flagged_words: the share of words on a list of flagged words.

SynthVLM, Appendix Table 1; the statistic is Data-Juicer's (statistics.py says how it is defined).
"""

from typing import Annotated, Any, Literal

from synthvlm_core.captions.rules import word_lists
from synthvlm_core.captions.rules.text_statistics import TextRule
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent, Location, Share


class FlaggedWords(TextRule):
    """Captions without, or with few, flagged words."""

    rule: Literal["flagged_words"]
    statistic = "flagged_words_ratio"
    words: Annotated[str, Location("word"), Absent(word_lists.BETTER_PROFANITY)] = word_lists.BETTER_PROFANITY
    """`better-profanity`, the kept package's list, or a file."""
    max_ratio: Share

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_ratio)

    def parameters(self, context: CaptionContext) -> dict[str, Any]:
        return {"flagged_words": self.load(context)}

    def content(self, context: Context) -> str | None:
        return self.load(context).sha256

    def files(self, context: Context) -> dict[str, str]:
        listed = self.load(context)
        return {"origin": listed.origin, "sha256": listed.sha256}

    def load(self, context: Context) -> word_lists.WordList:
        """The list; a relative path starts at the recipe file. Raises Mendable if there is none to be had."""
        return word_lists.load(self.words, context.folder)

    def counted(self, text: str, context: CaptionContext) -> list[str]:
        from synthvlm_core.captions.rules import statistics  # loading a recipe must not load numba

        flagged = self.load(context).words
        return [word for word in statistics.words_of(text) if word in flagged]

    def problem(self, context: Context) -> str | None:
        try:
            self.load(context)
        except Mendable as error:
            return f"words: {error}"
        return None
