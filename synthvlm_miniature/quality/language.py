"""How good is the miniature language model? Perplexity of clean and spoilt captions, the judge, text answers.

Belongs here: measuring the folder `language` on held-out texts. Does not belong here: training, the definitions of
the two scores (`synthvlm_core.models.language`), the table's layout.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from synthvlm_core.models import language
from synthvlm_miniature.making.rows import shuffled, texts_by_truth
from synthvlm_miniature.quality.shares import Row, Share, share_row
from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.language.texts import JUDGE_PROMPT
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.held_out import held_out_captions, held_out_questions, held_out_scenes

MAX_PPL = 20.0
"""The bound suggested for the recipe `miniature`: far above clean captions, far below dirt."""
_BATCH = 64
_DIRTY = ("markup", "symbols", "repetition", "encoding")
_DIRT_SEED = 999
"""Neither the shipped files' seed nor that of the training texts."""
_DIRT_ROWS = 1500


def load(folder: Path) -> tuple[Any, Any]:
    """The model in single precision, on the accelerator if there is one, and its tokenizer."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model.to(optimization.device()).eval(), AutoTokenizer.from_pretrained(folder)


def rows(models: Path, n: int = 1000) -> list[Row]:
    """The language model's part of the quality table: (name, value, note with n and 95 % interval)."""
    model, tokenizer = load(models / "language")
    return _of_perplexity(model, tokenizer, n) + _of_the_judge(model, tokenizer, n) + _of_answers(model, tokenizer, n)


def _of_perplexity(model: Any, tokenizer: Any, n: int) -> list[Row]:
    rng = np.random.default_rng([n, 51])
    scenes = held_out_scenes(n, "test")
    clean = {
        style: [caption(scene, rng, style, "full" if i % 2 else "varied") for i, scene in enumerate(scenes)]
        for style in STYLES
    }
    kinds: dict[str, list[str]] = {f"clean, {style}": texts for style, texts in clean.items()}
    # Taken in turns, so that every style is spoilt alike
    mixed = [clean[STYLES[i % len(STYLES)]][i] for i in range(n)]
    kinds["clean, held-out combinations"] = [
        caption(scene, rng, STYLES[i % len(STYLES)]) for i, scene in enumerate(held_out_scenes(n, "held_out"))
    ]
    kinds["vague"] = [text.text for text in held_out_captions(min(3000, 2 * n)) if not text.drawable]
    kinds |= {f"dirty, {kind}": texts for kind, texts in texts_by_truth(_DIRTY, _DIRT_SEED, _DIRT_ROWS).items()}
    kinds["words shuffled"] = [shuffled(text, rng) for text in mixed]
    kinds["two neighbouring words exchanged"] = [_exchanged(text, rng) for text in mixed]
    found = []
    for kind, texts in kinds.items():
        values = language.perplexities(texts, model, tokenizer, _BATCH)
        low, high = np.quantile(values, [0.025, 0.975])
        kept = Share(int((values <= MAX_PPL).sum()), len(values))
        note = f"median; 95 % of texts in [{low:.2f}, {high:.2f}]; at most {MAX_PPL:g}: {kept}"
        found.append((f"perplexity: {kind}", float(np.median(values)), note))
    return found


def _of_the_judge(model: Any, tokenizer: Any, n: int) -> list[Row]:
    rng = np.random.default_rng([n, 52])
    texts = held_out_captions(min(3000, 2 * n))
    drawable = [text.text for text in texts if text.drawable]
    cases: list[tuple[str, Sequence[str], bool]] = [
        ("says yes to captions", drawable, True),
        (
            "says yes to captions of held-out combinations",
            [caption(scene, rng, STYLES[i % len(STYLES)]) for i, scene in enumerate(held_out_scenes(n, "held_out"))],
            True,
        ),
        ("says no to vague texts", [text.text for text in texts if not text.drawable], False),
        ("says no to shuffled captions", [shuffled(text, rng) for text in drawable], False),
    ]
    cases += [
        (f"says no to {kind}", texts, False)
        for kind, texts in texts_by_truth(_DIRTY, _DIRT_SEED, _DIRT_ROWS).items()
        if kind in ("markup", "symbols", "repetition")
    ]
    found = []
    for name, asked, yes in cases:
        values = language.judge_yes(asked, JUDGE_PROMPT, model, tokenizer, _BATCH)
        row, value, note = share_row(f"judge {name}", Share(int(((values >= 0.5) == yes).sum()), len(values)))
        found.append((row, value, f"{note}; mean p(yes) {values.mean():.3f}"))
    return found


def _of_answers(model: Any, tokenizer: Any, n: int) -> list[Row]:
    """Questions about a caption instead of a picture, first token of the answer over all tokens."""
    rng = np.random.default_rng([n, 53])
    asked = held_out_questions(n)
    right: dict[str, list[bool]] = {}
    for at in range(0, len(asked), _BATCH):
        some = asked[at : at + _BATCH]
        prompts = [
            f"USER: {caption(scene, rng, 'plain', 'full')}\n{question.question} ASSISTANT:" for scene, question in some
        ]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="right").to(model.device)
        with torch.inference_mode():
            logits = model(input_ids=batch.input_ids).logits
        last = batch.attention_mask.sum(dim=1) - 1
        tokens = logits[torch.arange(len(some)), last].argmax(dim=1).tolist()
        for (_, question), token in zip(some, tokens, strict=True):
            wanted = tokenizer(f" {question.answer}", add_special_tokens=False).input_ids[0]
            right.setdefault(question.kind, []).append(token == wanted)
    found = []
    for kind, answers in [("every kind", [a for some in right.values() for a in some]), *sorted(right.items())]:
        found.append(share_row(f"text answers: {kind}", Share(sum(answers), len(answers))))
    return found


def _exchanged(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    at = int(rng.integers(len(words) - 1))
    words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)
