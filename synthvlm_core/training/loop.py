"""The training loop: transformers' Trainer with a fixed order of rows, resumable to the same weights.

Belongs here: how a `TrainingStage` becomes Trainer settings, what a step checkpoint holds, determinism. Does not
belong here: which rows and which parts are trained (aligned.py, tuned.py), whether a step checkpoint is sound
(step_checkpoints.py), finished checkpoints (checkpoints.py).

Loads torch when imported: import it where training begins.

The loss of a step is the mean over the learnt tokens of its whole global batch, however it is cut into micro-batches.
(LLaVA's own code averages the means of micro-batches, which weighs tokens of short answers more.)

A step checkpoint holds the trained parameters, the optimizer, the schedule and the generators' states. It lies in a
local work folder of this machine's own and is never taken from elsewhere; a kill in the middle of writing one, or
damage to it, costs the steps since the one before.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from synthvlm_core.errors import Mendable, RecipeError
from synthvlm_core.models.vlm import Part, Vlm, train_only
from synthvlm_core.progress import Progress
from synthvlm_core.recipe.sections import TrainingStage
from synthvlm_core.training import step_checkpoints
from synthvlm_core.training.data.collator import Collator
from synthvlm_core.training.data.order import Ordered
from synthvlm_core.training.step_checkpoints import TRAINED

_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class TrainingDiverged(Mendable):
    """The loss is no number any more; the message names the step and what to change."""


@dataclass(frozen=True)
class Trained:
    """What a run was: one entry per optimizer step, how long this process took, where it began."""

    losses: list[float]
    learning_rates: list[float]
    seconds: float
    resumed_from: int
    precision: str
    note: str
    trained_parameters: int


def train(
    vlm: Vlm,
    rows: Ordered,
    stage: TrainingStage,
    *,
    name: str,
    parts: Set[Part],
    work: Path,
    seed: int,
    threads: int,
    save_steps: int,
    progress: Progress,
) -> Trained:
    """Train some parts of a model in place on all rows in their order.

    Args:
        name: what progress is reported as, with steps done and steps to do.
        work: local folder for step checkpoints; a run that finds some there goes on from the last.
        save_steps: optimizer steps between step checkpoints.

    Raises:
        TrainingDiverged: if the loss becomes infinite or NaN.
        RecipeError: if the global batch cannot be cut into micro-batches for this many processes.
    """
    precision, note = precision_here(stage)
    frozen = torch.float32 if precision == "float32" else getattr(torch, precision)
    names = train_only(vlm.model, parts, frozen)
    steps = math.ceil(len(rows) / stage.global_batch)
    with _deterministic(threads):
        arguments = _arguments(stage, steps=steps, precision=precision, work=work, seed=seed, save_steps=save_steps)
        trainer = _Trainer(
            model=vlm.model,
            args=arguments,
            data_collator=Collator(vlm.processor),
            train_dataset=rows,
            callbacks=[_Watch(name, steps, progress), _Mark()],
        )
        trainer.remove_callback(PrinterCallback)  # it prints every step; `progress` tells whoever asks
        trainer.trained_names = names
        values = dict(vlm.model.named_parameters())
        last = step_checkpoints.newest(work, {name: tuple(values[name].shape) for name in names})
        started = time.perf_counter()
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        seconds = time.perf_counter() - started
        vlm.model.config.use_cache = True  # the Trainer turned it off, and answering would stay slow
    vlm.model.eval()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return Trained(
        losses=[float(entry["loss"]) for entry in history],
        learning_rates=[float(entry["learning_rate"]) for entry in history],
        seconds=seconds,
        resumed_from=step_checkpoints.step_of(last) if last else 0,
        precision=precision,
        note=note,
        trained_parameters=sum(p.numel() for p in vlm.model.parameters() if p.requires_grad),
    )


def precision_here(stage: TrainingStage) -> tuple[str, str]:
    """The precision that this machine trains in, and why it is not the recipe's, or ""."""
    if stage.precision == "float32" or torch.cuda.is_available():
        return stage.precision, ""
    return "float32", f"the recipe says {stage.precision}; trained in float32, as there is no accelerator"


def _arguments(
    stage: TrainingStage, *, steps: int, precision: str, work: Path, seed: int, save_steps: int
) -> TrainingArguments:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if stage.global_batch % (stage.micro_batch * world):
        raise RecipeError(
            f"global_batch {stage.global_batch} is no multiple of micro_batch {stage.micro_batch} times "
            f"{world} processes; change one of them"
        )
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=stage.micro_batch,
        gradient_accumulation_steps=stage.global_batch // (stage.micro_batch * world),
        learning_rate=stage.learning_rate,
        lr_scheduler_type=_SCHEDULES[stage.schedule],
        warmup_steps=math.ceil(stage.warmup_ratio * steps),
        weight_decay=stage.weight_decay,
        optim="adamw_torch",
        bf16=precision == "bfloat16",
        fp16=precision == "float16",
        activation_checkpointing=stage.gradient_checkpointing,
        # the other kind needs inputs with gradients, which a frozen language model does not have
        activation_checkpointing_kwargs={"use_reentrant": False} if stage.gradient_checkpointing else None,
        seed=seed % 2**32,
        save_strategy="steps",
        save_steps=save_steps,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
    )
    # Several accelerators take one process each; one process over all of them would change the global batch
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _Trainer(Trainer):
    """Rows in their given order, and step checkpoints of the trained parameters alone."""

    trained_names: list[str]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # sized, as a sampler asks

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        assert output_dir is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        values = dict(self.model.named_parameters())  # type: ignore[union-attr]  # set by then
        save_file({n: values[n].detach().cpu().contiguous() for n in self.trained_names}, Path(output_dir, TRAINED))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        stored = load_file(Path(resume_from_checkpoint, TRAINED))
        values = dict(self.model.named_parameters())  # type: ignore[union-attr]  # set by then
        with torch.no_grad():
            for name, value in stored.items():
                values[name].copy_(value)


class _Watch(TrainerCallback):
    """Reports every step, stops at the first loss that is no number."""

    def __init__(self, name: str, steps: int, progress: Progress) -> None:
        self._name, self._steps, self._progress = name, steps, progress

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            raise TrainingDiverged(
                f"{self._name}: the loss of step {state.global_step} is {logs['loss']}; lower the learning rate, or "
                "train in bfloat16 or float32 instead of float16"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._progress(self._name, state.global_step, self._steps)


class _Mark(TrainerCallback):
    """Vouches for a step checkpoint once all its files are written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step_checkpoints.mark(Path(str(args.output_dir), f"checkpoint-{state.global_step}"))


@contextlib.contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """The recipe's thread count, since sums depend on it, and kernels without races where there is a choice."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=warned)
