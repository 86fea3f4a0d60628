"""Rule special_characters: the share of punctuation, digits, whitespace, symbols and emoji.

SynthVLM, Appendix Table 1; the statistic is Data-Juicer's (statistics.py says how it is defined).
"""

from typing import Literal

from synthvlm_core.captions.rules.ratio import RatioRule


class SpecialCharacters(RatioRule):
    """Captions with neither too few nor too many of them."""

    rule: Literal["special_characters"]
    statistic = "special_char_ratio"
