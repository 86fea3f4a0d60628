"""Original images from where they are on the web: the section.

Belongs here: what a recipe may set. Does not belong here: the requests (fetching.py).
"""

from typing import Annotated, Literal

from pydantic import Field

from synthvlm_core.captions.originals.fetching import Limits, fetcher
from synthvlm_core.parts.originals import Find, Originals
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import Absent, Incidental, Positive


class Web(Originals):
    """Each picture by its `image_url`. Whoever gave none is not asked again."""

    by: Literal["web"]

    max_bytes: Annotated[Positive, Absent(8 << 20)] = 8 << 20
    """Larger pictures count as not there."""
    seconds: Annotated[float, Field(gt=0.0, le=600.0), Incidental()] = 30.0
    """For one picture, redirects and second tries included."""
    at_once: Annotated[Positive, Incidental()] = 128
    """Pictures under way."""
    per_host: Annotated[Positive, Incidental()] = 4
    """Of these, pictures of one host."""

    @property
    def version(self) -> int:
        return 1

    def asked(self, source: str, context: Context) -> str:
        return ""

    def load(self, source: str, context: Context) -> Find:
        return fetcher(Limits(self.max_bytes, self.seconds, self.at_once, self.per_host))
