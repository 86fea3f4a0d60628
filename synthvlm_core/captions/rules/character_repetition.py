"""Rule character_repetition: the share of the most frequent character n-grams.

SynthVLM, Appendix Table 1; the statistic is Data-Juicer's (statistics.py says how it is defined).
"""

from typing import Literal

from synthvlm_core.captions.rules.ratio import RepetitionRule


class CharacterRepetition(RepetitionRule):
    """Captions that do not repeat runs of characters."""

    rule: Literal["character_repetition"]
    statistic = "char_rep_ratio"
    length = "char_rep_len"
