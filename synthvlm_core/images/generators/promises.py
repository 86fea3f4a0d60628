"""Whether a pipeline of diffusers does what its arguments say: found from files, when it is loaded, on its first batch.

Belongs here: what ids, seeds and the recipe promise of a picture and a pipeline may silently break. Does not belong
here: loading and calling pipelines (diffusers.py), what is drawn as promised and unhealthy all the same
(images/health.py).

What a pipeline's class and files tell is told when a recipe is checked or weights are loaded. The rest shows while a
batch is drawn, from what reaches the denoiser, and costs nothing: nothing is drawn for the sake of a check, and a batch
that breaks a promise raises before a row of it is stored.

    size              latents that are no whole patches are cut, sizes are binned and stretched back
    steps             none left for the refiner; schedulers that take another number of them
    guidance          models that were distilled without it ignore it, and negative prompts with it
    latents           pipelines that draw their own instead of those of the seed
    noise             schedulers that draw it from the process's generator instead of the seed's
    other captions    pipelines that pad prompts to the longest of a batch
    censorship        black pictures in place of what a checker did not like
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

PLAIN: dict[str, Any] = {
    "use_resolution_binning": False,
    "clean_caption": False,
    "complex_human_instruction": None,
}
"""What pipelines are told that take these arguments: draw the size and the caption as given."""
LEAST_LIKENESS = 0.999
"""Cosine of latents as drawn and as they reach the denoiser, scaled and rounded to half precision there."""


@dataclass(frozen=True)
class Files:
    """What the configurations in a local folder tell of a pipeline; empty where there is none."""

    folder: Path

    def json(self, *names: str) -> dict[str, Any]:
        """A configuration; an empty one where there is none that can be read, which loading tells."""
        try:
            found = json.loads(self.folder.joinpath(*names).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def pipeline(self) -> str:
        """The name of its class, "" where it is not known."""
        return str(self.json("model_index.json").get("_class_name", ""))

    def multiple(self) -> int | None:
        """What width and height must be multiples of; None where the files do not tell."""
        import diffusers

        vae = self.json("vae", "config.json")
        blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
        if not self.pipeline or not isinstance(blocks, list):
            return None
        packed = hasattr(getattr(diffusers, self.pipeline, None), "_pack_latents")
        return int(2 ** (len(blocks) - 1)) * patch(self.json("transformer", "config.json"), packed=packed)

    def distilled(self) -> dict[str, Any]:
        """The denoiser's configuration."""
        return self.json("unet", "config.json") or self.json("transformer", "config.json")

    def scheduler(self, name: str | None) -> Any:
        """The scheduler as it would be loaded, or None."""
        import diffusers

        config = self.json("scheduler", "scheduler_config.json")
        cls = getattr(diffusers, name or str(config.get("_class_name", "")), None)
        if not config or cls is None:
            return None
        return cls.from_config({key: value for key, value in config.items() if key != "_class_name"})


def patch(denoiser: Any, *, packed: bool) -> int:
    """Latents along a side that a denoiser takes together, by its configuration."""
    if packed:
        return 2
    size = denoiser.get("patch_size", 1)
    return size if isinstance(size, int) and size > 0 else 1


def misfit(width: int, height: int, multiple: int) -> str | None:
    """Why a pipeline cannot draw that size, None if it can."""
    for name, value in (("width", width), ("height", height)):
        if value % multiple:
            return f"generator.{name}: {value} is no multiple of {multiple}, which this pipeline's latents need"
    return None


def idle(denoiser: Any, guidance_scale: float, negative_prompt: str | None) -> str | None:
    """Which of the section's values a denoiser of that configuration ignores, None if none."""
    if guidance_scale > 1.0 and denoiser.get("guidance_embeds") is False:
        return "generator.guidance_scale: does nothing with this model, which was distilled not to need it; set it to 0"
    embedded = denoiser.get("guidance_embeds") is True or denoiser.get("time_cond_proj_dim") is not None
    if negative_prompt is not None and embedded:
        return (
            "generator.negative_prompt: does nothing with this model, which takes guidance as a number and looks at no "
            "second prompt; take it out"
        )
    return None


def idle_refiner(base: Any, refiner: Any, steps: int, share: float) -> str | None:
    """Why one of two schedulers is left no step where they share a course of denoising, None if none is.

    The steps are counted as diffusers' pipelines count them for `denoising_end` and `denoising_start`. Schedulers whose
    steps depend on the picture's size are not looked at.
    """
    counts = []
    for scheduler, before in ((base, True), (refiner, False)):
        scheduler = type(scheduler).from_config(scheduler.config)  # the pipeline's own is left as it is
        try:
            scheduler.set_timesteps(steps)
        except ValueError:
            return None
        trained = scheduler.config.num_train_timesteps
        cutoff = round(trained - share * trained)
        counts.append(sum((float(at) >= cutoff) == before for at in scheduler.timesteps))
    if min(counts) > 0:
        return None
    whom = "the base model" if counts[0] == 0 else "the refiner"
    return (
        f"generator.steps: of {steps} steps none is left for {whom} at high_noise_frac {share:g}; raise steps, or move "
        "high_noise_frac towards the middle"
    )


@dataclass
class Watch:
    """What reaches a denoiser while one batch is drawn."""

    first: list[Any] = field(default_factory=list)
    """The latents of the first call, flat, float32 on the CPU, one for each of its rows."""
    calls: int = 0
    doubled: bool = False
    """Whether a call had more rows than the batch has pictures: with and without the prompt."""
    embedded: bool = False
    """Whether guidance was handed over as a number."""
    text: int | None = None
    """Tokens of the prompts that were handed over, padding included."""
    global_noise: bool = False
    """Whether the process's own generator of random numbers was drawn from."""

    def check(self, latents: Any, *, guidance_scale: float, negative_prompt: str | None, scheduler: Any) -> str | None:
        """Which promise was broken, None if none.

        Args:
            latents: what the pipeline was given, one picture a row.
        """
        import torch

        name = type(scheduler).__name__
        if self.global_noise:
            return (
                f"generator.scheduler: {name}, or its pipeline, draws noise that comes from no picture's seed: no "
                "picture could be drawn again; take another scheduler"
            )
        given = latents.detach().to("cpu", torch.float32).reshape(len(latents), -1)
        seen = self.first[: len(given)]
        if len(seen) < len(given) or any(
            one.numel() != other.numel() or not _alike(one, other) for one, other in zip(seen, given, strict=True)
        ):
            return (
                "generator.model: the noise that its pipeline starts from is not what the picture's seed gave, so that "
                "pictures do not follow from ids and seeds; take a pipeline that uses `latents`"
            )
        guided = self.doubled or self.calls > len(scheduler.timesteps)
        if guidance_scale > 1.0 and not (guided or self.embedded):
            return "generator.guidance_scale: does nothing with this pipeline; set it to 0"
        if negative_prompt is not None and not guided:
            return "generator.negative_prompt: does nothing with this pipeline; take it out"
        return None


def _alike(one: Any, other: Any) -> bool:
    import torch

    if not bool(torch.isfinite(one).all()):
        return True  # unhealthy, which the picture will show
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0)) > LEAST_LIKENESS


@contextlib.contextmanager
def watched(denoiser: Any, pictures: int) -> Iterator[Watch]:
    """Watch one batch of so many pictures."""
    found = Watch()

    def look(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = (
            positional[0]
            if positional
            else next((named[n] for n in ("hidden_states", "sample", "x") if n in named), None)
        )
        rows = list(given) if given is not None else []
        if found.calls == 0:
            found.first = [row.detach().to("cpu").float().reshape(-1) for row in rows]
        found.calls += 1
        found.doubled |= len(rows) > pictures
        found.embedded |= any(named.get(n) is not None for n in ("guidance", "timestep_cond", "guidance_scale"))
        text: Any = named.get("encoder_hidden_states", positional[2] if len(positional) > 2 else None)
        if found.text is None and hasattr(text, "shape"):
            found.text = int(text.shape[1])

    before = _generators()
    handle = denoiser.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()
        found.global_noise = _generators() != before


def _generators() -> list[bytes]:
    """The states of the process's own generators."""
    import torch

    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return [state.numpy().tobytes() for state in states]


def wrong_steps(scheduler: Any, steps: int) -> str | None:
    """Whether a scheduler took another number of steps than it was asked for, after drawing."""
    taken = len(scheduler.timesteps)
    by_stages = getattr(scheduler, "order", 1) > 1 or scheduler.config.get("skip_prk_steps") is False
    # PNDM takes its first step twice
    if steps <= taken and (by_stages or taken <= steps + 1):
        return None
    return f"generator.steps: {type(scheduler).__name__} takes {taken} steps where {steps} are asked for; ask for those"


def wrong_pictures(images: NDArray[Any], pictures: int, height: int, width: int) -> str | None:
    """Whether pixels are those that were asked for: pictures x height x width x 3."""
    if images.shape == (pictures, height, width, 3):
        return None
    if images.ndim == 4 and images.shape[0] == pictures and images.shape[3] == 3:
        drawn_height, drawn_width = images.shape[1:3]
        return (
            f"generator.width: this pipeline draws {drawn_width} x {drawn_height} pixels where {width} x {height} are "
            f"asked for; set width {drawn_width} and height {drawn_height}, or another size that it draws"
        )
    return f"generator.model: its pipeline gave {images.shape} values for {pictures} pictures of {width} x {height}"
