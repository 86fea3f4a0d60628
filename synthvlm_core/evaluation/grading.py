"""Whether an answer is right.

Belongs here: comparing words. Does not belong here: asking, accuracies (accuracy.py).
"""

import string
from collections.abc import Iterable

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset({"a", "an", "the"})


def normalised(text: str) -> str:
    """Lower case without punctuation, articles and needless blanks."""
    return " ".join(word for word in text.lower().translate(_PUNCTUATION).split() if word not in _ARTICLES)


def is_right(answer: str, truth: Iterable[str]) -> bool:
    """Whether an answer is one of the accepted ones, letter case, articles, punctuation and blanks aside."""
    said = normalised(answer)
    return any(said == normalised(accepted) for accepted in truth)
