"""Rule alphanumeric: the share of alphanumeric characters.

SynthVLM, Appendix Table 1; the statistic is Data-Juicer's (statistics.py says how it is defined).
"""

from typing import Literal

from synthvlm_core.captions.rules.ratio import RatioRule


class Alphanumeric(RatioRule):
    """Captions that are mostly letters and digits."""

    rule: Literal["alphanumeric"]
    statistic = "alnum_ratio"
