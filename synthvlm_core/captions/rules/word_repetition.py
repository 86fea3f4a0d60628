"""Rule word_repetition: the share of word n-grams that occur more than once.

SynthVLM, Appendix Table 1; the statistic is Data-Juicer's (statistics.py says how it is defined).
"""

from typing import Literal

from synthvlm_core.captions.rules.ratio import RepetitionRule


class WordRepetition(RepetitionRule):
    """Captions that do not repeat runs of words."""

    rule: Literal["word_repetition"]
    statistic = "word_rep_ratio"
    length = "word_rep_len"
