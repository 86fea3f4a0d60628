"""Rule language: whether a caption may be in one of the wanted languages.

Beyond the paper; py3langid, whose model is part of its package. With p its normalised probabilities among the languages
named in `among`:

    language_ratio = sum of p over the wanted languages / largest p of a language, at most 1

A caption of few words and a name says little: of English alt texts the model takes one in seven for another language,
at nearly equal probabilities. What is in another language lies below 0.02 mostly, so the bound is low by default.
"""

import importlib.metadata
from typing import Annotated, Any, Final, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from synthvlm_core import machine
from synthvlm_core.captions.rules.own_statistic import OwnStatistic, Texts
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent, Share
from synthvlm_core.store import records

Code = Annotated[str, Field(pattern="^[a-z]{2,3}$")]
AMONG: Final = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl",
    "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""The languages of most of the web."""


class Language(OwnStatistic):
    """Captions in the wanted languages."""

    rule: Literal["language"]
    statistic = "language_ratio"
    version = 1
    table = records.LANGUAGE
    bound = ("min_ratio",)
    cost = 1

    languages: Annotated[tuple[Code, ...], Field(min_length=1)]
    """ISO 639-1 codes."""
    among: Annotated[tuple[Code, ...], Field(min_length=2), Absent(list(AMONG))] = AMONG
    """The languages that a caption may be in at all."""
    min_ratio: Annotated[Share, Absent(0.1)] = 0.1

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if unknown := sorted(set(self.languages) - set(self.among)):
            raise ValueError(f"languages: {', '.join(unknown)} must stand in among as well")
        return self

    def unavailable(self, context: Context) -> str | None:
        if not machine.has("py3langid"):
            return "py3langid is not installed; pip install 'synthvlm[language]'"
        return None

    def problem(self, context: Context) -> str | None:
        if unknown := sorted(set(self.among) - set(_identifier(()).labels)):
            return f"among: the model does not know {', '.join(unknown)}"
        return None

    def bounds(self) -> Bounds:
        return Bounds(minimum=self.min_ratio)

    def depends_on(self, context: CaptionContext) -> dict[str, str]:
        return {"py3langid": importlib.metadata.version("py3langid")}

    def measure(self, context: CaptionContext) -> Texts:
        identifier, wanted = _identifier(self.among), set(self.languages)

        def ratios(texts: pa.Array) -> pa.Array:
            found = []
            for text in texts.to_pylist():
                ranked = identifier.rank(text)  # the likeliest first
                likely = sum(float(value) for code, value in ranked if code in wanted)
                found.append(round(min(likely / float(ranked[0][1]), 1.0), 6))
            return pa.array(found, pa.float64())

        return ratios


def _identifier(among: tuple[str, ...]) -> Any:
    from py3langid import langid

    found = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    if among:
        found.set_languages(among)
    return found
