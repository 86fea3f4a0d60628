"""The benchmarks: one module each, with its section, how it asks, its source.

Belongs here: the list of them. Does not belong here: what all have in common (parts/benchmark.py), what answers are
worth (evaluation/accuracy.py).
"""

from synthvlm_core.evaluation.benchmarks.lmms_eval import LmmsEval
from synthvlm_core.evaluation.benchmarks.questions import Questions

PARTS = (Questions, LmmsEval)
