"""What a generator of images must offer: its section, and a picture for a request.

Belongs here: the base of generators, requests and what comes of them, seeds. Does not belong here: the generators
(images/generators/), which images are wanted (images/wanted.py), bytes (images/encoding.py).

A generator is a model that is loaded, or a service that is asked. A service has no weights to hash, so its section
names what it is told to use; it may refuse a prompt; and it promises no second picture like the first (`replayable`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synthvlm_core import hashing
from synthvlm_core.parts.part import Context, Part
from synthvlm_core.parts.section import Absent, Incidental, Positive, Section, Share


class Encoding(Section):
    """How a drawn image is stored."""

    format: Literal["jpeg", "png", "webp"]
    quality: Annotated[int | None, Field(ge=1, le=100), Absent(None)] = None
    """jpeg needs one, webp without one is lossless, png has none."""
    subsampling: Annotated[Literal["4:4:4", "4:2:2", "4:2:0"] | None, Absent(None)] = None
    """Colour resolution of jpeg; null is whole colour, 4:4:4."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.format == "jpeg" and self.quality is None:
            raise ValueError("jpeg needs a quality, 1 to 100; the library's default of 75 is low")
        if self.format == "png" and self.quality is not None:
            raise ValueError("quality: png is lossless and has none; take it out, or take jpeg or webp")
        if self.format != "jpeg" and self.subsampling is not None:
            raise ValueError(f"subsampling: {self.format} has none here, only jpeg; take it out")
        return self


class Health(Section):
    """When a drawn image is drawn again under a new attempt: NaN always, else nearly one colour."""

    min_std: Annotated[float, Field(ge=0.0, le=255.0)]
    """Least spread around the mean colour, 0 to 255, itself enough; images/health.py has the formula."""
    max_attempts: Positive
    max_unhealthy_share: Annotated[Share, Incidental()]


@dataclass(frozen=True)
class Request:
    """One image to draw: the k-th of a caption, after `attempt` unhealthy ones."""

    caption_id: str
    text: str
    k: int
    attempt: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """What came out for a request: pixels, or why there are none."""

    request: Request
    seed: int
    pixels: NDArray[np.float32] | None
    """Height x width x 3 in [0, 1], or NaN where the model failed; None where a service refused the prompt."""
    prompt_tokens: int | None = None
    """Tokens of the caption, start and end not counted, by the first tokenizer; None where nobody tells."""
    prompt_truncated: bool = False
    """Whether one of the text encoders is known to have seen less than the whole caption."""


class Drawer(Protocol):
    """A generator that is loaded."""

    description: dict[str, Any]
    """What produces the pixels, for people and replay: models, device, number format, versions. JSON values."""

    def draw(self, requests: Sequence[Request]) -> list[Drawn]:
        """Draw at most a batch of images, in the order of the requests."""


class Generator(Part):
    """A way to turn captions into pictures."""

    tag: ClassVar[str] = "kind"
    version: ClassVar[int]
    """Raised when the same section, caption and seed give another picture."""
    replayable: ClassVar[bool] = True
    """Whether the same request gives the same picture again; a service promises nothing."""

    width: Annotated[int, Field(ge=8, multiple_of=8)]
    height: Annotated[int, Field(ge=8, multiple_of=8)]
    images_per_caption: Annotated[Positive, Absent(1)] = 1
    batch_size: Annotated[Positive, Incidental()]
    """Requests drawn together. It is no part of what an image depends on: between batch sizes pixels agree within the
    PSNR of docs/images.md, and to the byte for the same wheels, processor, threads and batch size only. Nothing wrong
    is reused, since scores are kept under the hash of the picture they were computed from."""
    encoding: Encoding
    health: Health

    @abstractmethod
    def load(self, context: Context) -> Drawer:
        """Load what drawing needs.

        Raises:
            RecipeError: if weights are missing, or the generator cannot do what the section asks.
        """

    def drawn_by(self) -> str:
        """What draws and how it is set, as the beginning of a line of a card."""
        return f"`{self.kind_name}`"

    def told(self) -> str:
        """How images are made, as one line of a card; it says so where they cannot be drawn again."""
        made = f"{self.drawn_by()}, {self.width}×{self.height} pixels, {self.images_per_caption} per caption"
        return made if self.replayable else f"{made}; asked again, it need not draw the same picture"


def seed_of(recipe_seed: int, caption_id: str, k: int, attempt: int) -> int:
    """Seed of an image in [0, 2**63). The generator is not part of it: two generators or settings are compared on
    common noise."""
    return int(hashing.digest(*(str(part).encode() for part in (recipe_seed, caption_id, k, attempt)))[:16], 16) >> 1
