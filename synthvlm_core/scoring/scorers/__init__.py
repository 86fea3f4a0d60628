"""Scores of a pair, one module each: a section, and a number for a picture and its caption.

Belongs here: the list of scores. Does not belong here: which pairs are scored (scoring/scored.py).
"""

from synthvlm_core.scoring.scorers.clip_score import ClipScore
from synthvlm_core.scoring.scorers.colourfulness import Colourfulness
from synthvlm_core.scoring.scorers.ssim import Ssim

PARTS = (ClipScore, Ssim, Colourfulness)
