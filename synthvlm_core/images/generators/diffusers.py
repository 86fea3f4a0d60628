"""Generator diffusers: any text-to-image pipeline of Hugging Face diffusers, captions in, pixels out, replayable.

Belongs here: the section, loading a pipeline and its refiner, batches, what the text encoders see. Does not belong
here: noise (noise.py), what a pipeline may silently do otherwise (promises.py), which images are wanted
(images/wanted.py), whether one is healthy and how it is stored.

SynthVLM (arXiv 2407.20756) draws with Stable Diffusion XL, arXiv 2307.01952, whose base and refiner share one course of
denoising: the base stops at `denoising_end = high_noise_frac` and hands over noisy latents, the refiner starts at
`denoising_start = high_noise_frac`. (Given `denoising_end` alone, as in the authors' code, a refiner instead adds fresh
noise and stops early, which leaves noise in the picture.)

Three things make an image depend on its request alone. Its latents are drawn on the CPU from its own seed, in double
precision, then rounded to float32 and to the model's number format: the same bits on every machine. Noise that a
stochastic scheduler adds comes from the same stream, further along. And every batch has the same shape, the last one
padded, because a library of matrix routines picks its kernel, and so its order of summation, by the shape. Within a
batch a result may still depend on its place where the shape is not a multiple of the kernel's tile; on the processors
measured, batches of 1 and of multiples of 4 are free of that, so recipes take those.
"""

import contextlib
import inspect
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from synthvlm_core.errors import Mendable, RecipeError, meant
from synthvlm_core.images.generators import promises
from synthvlm_core.images.generators.noise import initial_latents, noise_stream
from synthvlm_core.models import weights
from synthvlm_core.parts.generator import Drawn, Generator, Request, seed_of
from synthvlm_core.parts.locations import locate
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import Absent, Model, Positive

log = logging.getLogger(__name__)

_GIVEN = ("prompt", "num_inference_steps", "guidance_scale", "generator", "output_type")
"""What every pipeline is told."""

SLICED_DECODING_PIXELS = 512 * 512
"""From this size on, images of a batch are decoded one by one: together they would need many times their memory."""


class Diffusers(Generator):
    """A text-to-image pipeline, with a refiner or without."""

    kind: Literal["diffusers"]
    version: ClassVar[int] = 1
    model: Model
    refiner: Annotated[Model | None, Absent(None)] = None
    high_noise_frac: Annotated[float | None, Field(gt=0.0, lt=1.0), Absent(None)] = None
    """Share of the denoising done by the base model before the refiner takes over, neither nothing nor all."""
    scheduler: Annotated[str | None, Absent(None)] = None
    """A diffusers scheduler class; null keeps the pipeline's own."""
    steps: Positive
    guidance_scale: Annotated[float, Field(ge=0.0)]
    """1 and less is no guidance."""
    negative_prompt: Annotated[str | None, Absent(None)] = None
    """What guidance steers away from; null leaves it to the pipeline, which for SDXL are zeros, not an empty text."""

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        if (self.refiner is None) != (self.high_noise_frac is None):
            raise ValueError("refiner and high_noise_frac go together")
        if self.negative_prompt is not None and self.guidance_scale <= 1.0:
            raise ValueError(
                "negative_prompt does nothing without guidance: raise guidance_scale above 1 or take it out"
            )
        return self

    def problem(self, context: Context) -> str | None:
        try:
            if self.scheduler is not None:
                _scheduler_class(self.scheduler)
            found = self._told_by_files(context)
        except RecipeError as error:
            found = str(error)
        return found and found.removeprefix("generator.")

    def load(self, context: Context) -> "Pipeline":
        return Pipeline(self, context)

    def drawn_by(self) -> str:
        refined = f", refined by `{self.refiner.id}`" if self.refiner else ""
        return f"`{self.model.id}`{refined}, {self.steps} steps, guidance {self.guidance_scale:g}"

    def _told_by_files(self, context: Context) -> str | None:
        """What the files of a model's folder show that its pipeline would not do as the section says."""
        files = promises.Files(Path(locate(self.model.id, context.folder)))
        multiple = files.multiple()
        if multiple and (found := promises.misfit(self.width, self.height, multiple)):
            return found
        if found := promises.idle(files.distilled(), self.guidance_scale, self.negative_prompt):
            return found
        if self.refiner is not None and self.high_noise_frac is not None:
            refining = promises.Files(Path(locate(self.refiner.id, context.folder)))
            base, refiner = (one.scheduler(self.scheduler) for one in (files, refining))
            if base is not None and refiner is not None:
                return promises.idle_refiner(base, refiner, self.steps, self.high_noise_frac)
        return None


class Pipeline:
    """The generator, loaded.

    Attributes:
        note: what was done otherwise than the recipe says, for people; empty if nothing.
        description: what produces the pixels: pipelines, schedulers, number format, device, threads, library versions.
    """

    def __init__(self, section: Diffusers, context: Context) -> None:
        """Load the weights. From now on this process has the recipe's number of threads: bytes depend on it.

        Raises:
            RecipeError: if weights are missing or pickled, or if the pipeline cannot do what the section asks.
        """
        import diffusers
        import torch
        import transformers

        torch.set_num_threads(context.threads)
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it ships so
        self._section = section
        self._seed = context.seed
        self._device = weights.device()
        self.note = ""
        self._base = self._load(diffusers.AutoPipelineForText2Image, section.model, context.folder, "generator.model")
        self._refiner = None
        if section.refiner is not None:
            cls = diffusers.AutoPipelineForImage2Image
            self._refiner = self._load(cls, section.refiner, context.folder, "generator.refiner")
            _must_take(self._base, "denoising_end", "generator.model hands over to no refiner")
            _must_take(self._refiner, "denoising_start", "generator.refiner takes over from no base model")
            if found := promises.idle_refiner(
                self._base.scheduler, self._refiner.scheduler, section.steps, section.high_noise_frac or 0.0
            ):
                raise RecipeError(found)
            for argument in ("image", *_GIVEN):
                _must_take(self._refiner, argument, "generator.refiner")
        _must_take(self._base, "latents", "generator.model cannot be given its noise")
        for argument in ("height", "width", *_GIVEN):
            _must_take(self._base, argument, "generator.model")
        if section.negative_prompt is not None:
            _must_take(self._base, "negative_prompt", "generator.negative_prompt")
            second = inspect.signature(self._base.__call__).parameters.get("true_cfg_scale")
            if second is not None and second.default <= 1.0:
                raise RecipeError(
                    f"generator.negative_prompt: {type(self._base).__name__} looks at it under a second guidance scale "
                    "only, which a recipe does not set; take it out"
                )
        self._denoiser = _denoiser(self._base)
        self._latent_shape, self._packed = _latent_shape(self._base, section.height, section.width)
        configured = self._denoiser.config
        multiple = self._base.vae_scale_factor * promises.patch(configured, packed=self._packed)
        if found := promises.misfit(section.width, section.height, multiple):
            raise RecipeError(found)
        if found := promises.idle(configured, section.guidance_scale, section.negative_prompt):
            raise RecipeError(found)
        self._text: int | None = None
        self._has_drawn = False
        self._tokenizers = _tokenizers(self._base)
        self.description = self._describe()

    def draw(self, requests: Sequence[Request]) -> list[Drawn]:
        """Draw at most a batch of images, in the order of the requests; a smaller batch is padded by repetition.

        Raises:
            RecipeError: if the pipeline broke a promise of promises.py, such as drawing another size.
        """
        real = list(requests)
        pictures = self._draw_batch([*real, *[real[-1]] * (self._section.batch_size - len(real))])
        drawn: list[Drawn] = []
        for request, picture in zip(real, pictures, strict=False):  # the padding is dropped
            tokens, truncated = self._prompt(request.text)
            drawn.append(Drawn(request, self._seed_of(request), picture, tokens, truncated))
        return drawn

    def _seed_of(self, request: Request) -> int:
        return seed_of(self._seed, request.caption_id, request.k, request.attempt)

    def _draw_batch(self, batch: list[Request]) -> NDArray[np.float32]:
        """Pixels of a whole batch: batch x height x width x 3, float32."""
        import torch

        section = self._section
        streams = [noise_stream(self._seed_of(request)) for request in batch]
        latents = torch.stack([initial_latents(stream, self._latent_shape) for stream in streams])
        if self._packed:
            latents = self._base._pack_latents(latents, len(batch), *self._latent_shape)
        arguments: dict[str, Any] = {
            "prompt": [request.text for request in batch],
            "num_inference_steps": section.steps,
            "guidance_scale": section.guidance_scale,
            "generator": streams,
        }
        told = section.negative_prompt
        negative = {} if told is None else {"negative_prompt": [told] * len(batch)}
        base, refiner = self._base, self._refiner
        # not scaled here: pipelines multiply given latents by their scheduler's initial sigma themselves
        first = {
            **arguments,
            **negative,
            **{name: value for name, value in promises.PLAIN.items() if _takes(base, name)},
            "latents": latents.to(self._device, self._denoiser.dtype),
            "height": section.height,
            "width": section.width,
        }
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
            promises.watched(self._denoiser, len(batch)) as watch,
            self._first_batch(),
        ):
            if refiner is None:
                made = base(**first, output_type="np")
            else:
                share = section.high_noise_frac
                handed = base(**first, denoising_end=share, output_type="latent").images
                second = {**arguments, **(negative if _takes(refiner, "negative_prompt") else {})}
                made = refiner(**second, image=handed, denoising_start=share, output_type="np")
        images = np.asarray(made.images, dtype=np.float32)
        self._held(watch, first["latents"], made, images)
        return images

    @contextlib.contextmanager
    def _first_batch(self) -> Iterator[None]:
        """What a pipeline refuses on its first batch it will always refuse: the size, as a rule, or an argument."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            if self._has_drawn or isinstance(error, Mendable) or "CUDA" in str(error):
                raise
            section = self._section
            raise RecipeError(
                f"generator: the {type(self._base).__name__} of {section.model.id} does not draw {section.width} x "
                f"{section.height} pixels as the section says: {' '.join(str(error).split())[:400]}; take the size "
                "that its card names, or another model"
            ) from error
        self._has_drawn = True

    def _held(self, watch: promises.Watch, latents: Any, made: Any, images: NDArray[np.float32]) -> None:
        """Raise if a batch was not drawn as the recipe and the seeds say."""
        section = self._section
        found = (
            promises.wrong_pictures(images, len(latents), section.height, section.width)
            or watch.check(
                latents,
                guidance_scale=section.guidance_scale,
                negative_prompt=section.negative_prompt,
                scheduler=self._base.scheduler,
            )
            or (promises.wrong_steps(self._base.scheduler, section.steps) if self._refiner is None else None)
        )
        if found is None and any(getattr(made, "nsfw_content_detected", None) or ()):
            found = "generator.model: its pipeline blackens pictures by a safety checker, which is not turned off here"
        if found is None and self._text not in (None, watch.text):
            found = (
                "generator.batch_size: this pipeline pads prompts to the longest of a batch, so that a picture would "
                "depend on the captions it is drawn beside; set it to 1"
            )
        if found is not None:
            raise RecipeError(found)
        if section.batch_size > 1:
            self._text = watch.text

    def _prompt(self, text: str) -> tuple[int, bool]:
        """How many tokens a caption has, and whether an encoder cuts it."""
        counts, cut = [], False
        for tokenizer, limit in self._tokenizers:
            counts.append(len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids))
            cut |= counts[-1] + tokenizer.num_special_tokens_to_add() > limit
        return (counts[0] if counts else 0), cut

    def _load(self, cls: Any, model: Model, folder: str, key: str) -> Any:
        """A pipeline on the device, silent, without safety checker and watermark, under the recipe's scheduler."""
        import torch

        options: dict[str, Any] = {}
        if self._device.type == "cpu" and model.dtype == "float16":
            options["dtype"] = torch.float32  # half precision lacks kernels there and crawls where it has them
            self.note = "no accelerator: float16 weights are computed in float32, pixels differ slightly"
            log.warning("%s: %s", key, self.note)
        with weights.opened(model, folder, key) as where:
            try:
                found = cls.load_config(where.location, **where.file_arguments())
                # named only where it exists, since a pipeline warns of what it does not know; null loads nothing
                no_checker = {"safety_checker": None, "requires_safety_checker": False}
                unwanted = no_checker if "safety_checker" in found else {}
                pipeline = cls.from_pretrained(where.location, **{**where.arguments(), **unwanted, **options})
            except (OSError, ValueError, AttributeError) as error:
                what = f"{where.location} is not a pipeline that {cls.__name__} loads"
                raise RecipeError(f"{key}.id: {what}: {error}") from error
        for name in ("watermark", "watermarker", "safety_checker"):
            if getattr(pipeline, name, None) is not None:
                setattr(pipeline, name, None)  # they change pixels, the first two invisibly
        if self._section.scheduler is not None:
            pipeline.scheduler = _scheduler(self._section.scheduler, pipeline.scheduler)
        large = self._section.height * self._section.width >= SLICED_DECODING_PIXELS
        if large and hasattr(getattr(pipeline, "vae", None), "enable_slicing"):
            pipeline.vae.enable_slicing()
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self._device)

    def _describe(self) -> dict[str, Any]:
        import diffusers
        import PIL
        import torch
        import transformers

        cuda = self._device.type == "cuda"
        parts = {"base": self._base, "refiner": self._refiner}
        return {
            **{
                name: {
                    "pipeline": type(pipeline).__name__,
                    "scheduler": type(pipeline.scheduler).__name__,
                    "dtype": str(pipeline.dtype).removeprefix("torch."),
                }
                for name, pipeline in parts.items()
                if pipeline is not None
            },
            "device": torch.cuda.get_device_name(self._device) if cuda else "cpu",
            "threads": torch.get_num_threads(),
            "batch_size": self._section.batch_size,
            "note": self.note,
            "versions": {
                "diffusers": diffusers.__version__,
                "numpy": np.__version__,
                "pillow": PIL.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        }


def _takes(pipeline: Any, argument: str) -> bool:
    return argument in inspect.signature(pipeline.__call__).parameters


def _must_take(pipeline: Any, argument: str, key: str) -> None:
    if not _takes(pipeline, argument):
        raise RecipeError(f"{key}: {type(pipeline).__name__} takes no {argument}")


def _scheduler_class(name: str, fitting: str = "") -> Any:
    """A diffusers scheduler by class name. Raises RecipeError if there is none."""
    import diffusers

    cls = getattr(diffusers, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, diffusers.SchedulerMixin)):
        near = meant(name, [found for found in dir(diffusers) if found.endswith("Scheduler")])
        raise RecipeError(
            f"generator.scheduler: diffusers {diffusers.__version__} has no scheduler {name!r}{fitting}{near}"
        )
    return cls


def _scheduler(name: str, current: Any) -> Any:
    """A scheduler by class name, configured as the pipeline's own. Raises RecipeError if there is none."""
    fitting = ", ".join(sorted(found.__name__ for found in current.compatibles)) or "none known"
    return _scheduler_class(name, f"; this pipeline takes {fitting}").from_config(current.config)


def _denoiser(pipeline: Any) -> Any:
    """The network that latents go through. Raises RecipeError if the pipeline denoises none."""
    for name in ("unet", "transformer"):
        if getattr(pipeline, name, None) is not None and hasattr(pipeline, "vae_scale_factor"):
            return getattr(pipeline, name)
    raise RecipeError(f"generator.model: {type(pipeline).__name__} has no U-Net or transformer over latents")


def _latent_shape(pipeline: Any, height: int, width: int) -> tuple[tuple[int, int, int], bool]:
    """Channels, height and width of one image's latents, and whether the pipeline packs 2x2 patches of them."""
    factor = pipeline.vae_scale_factor
    channels = int(_denoiser(pipeline).config.in_channels)
    if hasattr(pipeline, "_pack_latents"):
        return (channels // 4, 2 * (height // (2 * factor)), 2 * (width // (2 * factor))), True
    return (channels, height // factor, width // factor), False


def _tokenizers(pipeline: Any) -> list[tuple[Any, float]]:
    """Each tokenizer of a pipeline with the number of tokens its encoder sees, start and end included."""
    asked = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    longest = asked.default if asked is not None and isinstance(asked.default, int) else float("inf")
    found = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
    return [(tokenizer, min(tokenizer.model_max_length, longest)) for tokenizer in found if tokenizer is not None]
