"""The language model's training loop.

Belongs here: its loss and the loop. Does not belong here: texts and batches (texts.py, data.py).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.language.data import batches
from synthvlm_miniature.training.language.model import build_model, save
from synthvlm_miniature.training.language.settings import Settings
from synthvlm_miniature.training.optimization import IGNORED


def loss_of(model: LlamaForCausalLM, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the learnt tokens, in float32."""
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[learnt].float())
    return functional.cross_entropy(logits, labels[:, 1:][learnt])


def train(
    settings: Settings,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path | None = None,
    log: bool = True,
) -> tuple[Any, list[float]]:
    """Train and return the model on the CPU with the loss of every step.

    Args:
        checkpoint: the model so far is written to that folder every 500 steps.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = optimization.device()
    model: Any = build_model(settings, tokenizer)
    model.to(device)
    optimizer = optimization.decayed_adamw(model.parameters(), settings.learning_rate, settings.weight_decay)
    model.train()
    record = optimization.Log("language", 50, silent=not log)
    for step, (ids, labels) in zip(range(settings.steps), batches(settings, tokenizer), strict=False):
        rate = optimization.cosine(step, settings.steps, settings.learning_rate, settings.warm_up)
        optimization.set_rate(optimizer, rate)
        loss = loss_of(model, ids.to(device), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimization.update(optimizer, model.parameters())
        record.add(step, float(loss.detach()))
        if checkpoint is not None and step % 500 == 499:
            save(model, tokenizer, checkpoint)
    return model.cpu().eval(), record.losses
