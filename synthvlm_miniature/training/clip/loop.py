"""CLIP's training loop: the contrastive loss, the heads' losses beside it, and the cool-down without them.

Belongs here: the whole loss, its schedule, the loop. Does not belong here: batches (data.py), the heads (heads.py).
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.clip.data import Batch, batches
from synthvlm_miniature.training.clip.heads import Heads
from synthvlm_miniature.training.clip.model import build_model, encode_text, save
from synthvlm_miniature.training.clip.settings import Settings

KERNELS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)

_GREATEST_SCALE = math.log(30.0)
"""A lower bound for the temperature than usual: margins between near captions have to be wide in cosine."""


def loss_of(
    model: Any, heads: Heads, batch: Batch, settings: Settings, with_heads: bool = True
) -> tuple[Tensor, dict[str, float]]:
    """The whole loss and its parts: towers in bfloat16 where that is fast, heads and losses in float32."""
    kept: list[Tensor] = []
    hook = model.visual.transformer.resblocks[-2].register_forward_hook(lambda _, __, out: kept.append(out))
    kind = batch.pictures.device.type
    low = kind == "cuda" or has_fast_bfloat16()
    # On a CPU the backward pass of PyTorch's fused attention takes six times as long as this one in bfloat16
    kernels = [SDPBackend.MATH] if kind == "cpu" and low else list(KERNELS)
    with torch.autocast(kind, torch.bfloat16, enabled=low), sdpa_kernel(kernels):
        image = functional.normalize(model.encode_image(batch.pictures).float(), dim=-1)
        text = encode_text(model, batch.tokens)
    hook.remove()
    logits = model.logit_scale.exp() * image @ text.T
    # The same words twice in a batch are no negatives of each other
    same = (batch.tokens[:, None] == batch.tokens[None]).all(dim=2)
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -1e4)
    target = torch.arange(len(image), device=image.device)
    contrast = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    right = (logits.argmax(dim=1) == target).float().mean()
    if not with_heads:
        return contrast, {"contrast": float(contrast.detach()), "right": float(right)}
    seen = heads.slot_loss(image, batch.slots)
    said = heads.slot_loss(text[batch.says_all], batch.slots[batch.says_all])
    patches = heads.patch_loss(kept[0][:, 1:].float(), batch.patches)
    loss = contrast + settings.slot_weight * (seen + said) + settings.patch_weight * patches
    parts = {"contrast": contrast, "seen": seen, "said": said, "patches": patches, "right": right}
    return loss, {name: float(part.detach()) for name, part in parts.items()}


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, the first half of a cosine, then, from a new start, linearly down to nothing."""
    if step < max(settings.steps, settings.warm_up):
        return optimization.cosine(step, settings.cosine_steps, settings.learning_rate, settings.warm_up)
    cooled = step - settings.steps
    return settings.cool_down_rate * min((cooled + 1) / 20, 1 - cooled / settings.cool_down)


def train(
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path | None = None,
    log: bool = True,
    cooled_from: Any = None,
) -> tuple[Any, list[float]]:
    """Train and return the model on the CPU with the loss of every step.

    bfloat16 where the device multiplies it fast (CUDA, CPUs with AVX-512 BF16), master weights in float32.

    Args:
        checkpoint: the model so far is written to that folder every 200 steps.
        cooled_from: a trained model; instead of the training its cool-down is run, without the heads.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = optimization.device()
    model = (build_model() if cooled_from is None else cooled_from).to(device)
    heads = Heads().to(device)
    model.train()
    learned = [*model.parameters(), *heads.parameters()]
    optimizer = optimization.decayed_adamw(learned, settings.learning_rate, settings.weight_decay)
    record = optimization.Log("clip", 50, silent=not log)
    steps = range(settings.steps)
    if cooled_from is not None:
        steps = range(settings.steps, settings.steps + settings.cool_down)
    for step, batch in zip(steps, batches(settings, tokenizer, steps.start), strict=False):
        optimization.set_rate(optimizer, learning_rate(step, settings))
        loss, parts = loss_of(model, heads, batch.to(device), settings, with_heads=step < settings.steps)
        loss.backward()  # type: ignore[no-untyped-call]
        optimization.update(optimizer, optimization.optimized(optimizer))
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, _GREATEST_SCALE)
        record.add(step, float(loss.detach()), parts)
        if checkpoint is not None and step % 200 == 199:
            save(model, tokenizer, checkpoint)
    return model.cpu().eval(), record.losses


def has_fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; elsewhere it is many times slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())
