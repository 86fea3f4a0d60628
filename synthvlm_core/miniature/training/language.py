"""The language model of the miniature world: a small Llama, its byte-level tokenizer, its texts and its training.

Belongs here: the texts it learns from, the judge's prompt, settings, writing the folder `language`.
Does not belong here: scoring captions (`captions.language`), pictures: it has seen none.

It learns three kinds of text, so that one model serves as measure of perplexity, as judge and as backbone of a VLM:

- captions in all five styles, and vague ones: what is fluent gets a low perplexity, whether it can be drawn or not;
- questions about a caption in the form that a VLM uses, the caption standing where a picture will stand, with the loss
  on the answers alone; some ask for a description, which the same scene's caption in other words answers;
- the judge's prompt with the loss on Yes or No alone, so that dirt is seen but never learnt as something to say. Yes:
  captions of scenes. No: vague captions, shuffled words, text that was never a caption (symbols, markup, adverts
  repeated, nothing at all, dozens of captions in one). Flagged words and wrong encodings are left out: such a caption
  still pictures a scene, and other rules look for them.

Run: `python -m synthvlm_core.miniature.training.language FOLDER` writes FOLDER/language; the defaults are the shipped
settings. Deterministic for a seed, a thread count and a kind of device.
"""

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from synthvlm_core.miniature import files, grammar, world
from synthvlm_core.miniature.world import Scene

JUDGE_PROMPT = "USER: Does this caption picture a scene that can be drawn? {caption} ASSISTANT:"
"""What the judge was trained on: a recipe has to use these words."""
INSTRUCTIONS = ("Describe the picture.", "What does the picture show?", "Describe the picture in one sentence.")

VOCABULARY = 1024
LONGEST = 288
"""Tokens of a training text: a caption as long as the judge reads, and the prompt around it."""
PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
IGNORED = -100

_DIRT_SEED = 31_337
_DIRT_ROWS = 4000
_NO = ("symbols", "markup", "repetition", "empty", "long", "shuffled")
_POOL = 512


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run depends on."""

    seed: int = 0
    steps: int = 5000
    tokens: int = 2600
    """Of a batch, with the padding."""
    width: int = 160
    layers: int = 4
    heads: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: int = 150
    caption_share: float = 0.26
    vague_share: float = 0.04
    judge_share: float = 0.16
    """The rest are questions."""
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """Parts in order, each with whether the model learns to say it."""

    parts: tuple[tuple[str, bool], ...]


def build_tokenizer(seed: int = 0, scenes: int = 6000) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on clean text: dirt splits into rare tokens and single bytes, never into nothing.

    `<image>` in a text becomes the special token, as the VLM's processor needs it; code that reads foreign text has to
    ask for `split_special_tokens=True`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    rng = np.random.default_rng([seed, 31])

    def texts() -> Iterator[str]:
        for number in range(scenes):
            scene = world.sample_scene(rng)
            yield from (grammar.caption(scene, rng, style) for style in grammar.STYLES)
            yield grammar.vague_caption(rng)
            # The answers come often enough to be one token each
            yield JUDGE_PROMPT.format(caption="") + (" Yes" if number % 2 else " No")
            for question in grammar.questions(scene, rng)[:2]:
                yield f"USER: \n{question.question} ASSISTANT: {question.answer}"
            yield INSTRUCTIONS[number % len(INSTRUCTIONS)]

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PAD, BOS, EOS, IMAGE],
        show_progress=False,
    )
    bpe.train_from_iterator(texts(), trainer)
    bpe.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=1024,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def texts(settings: Settings) -> Iterator[Text]:
    """Endless training texts; the n-th depends on the seed and n alone."""
    dirty = dirty_captions()
    captions = settings.caption_share
    vague = captions + settings.vague_share
    judged = vague + settings.judge_share
    number = 0
    while True:
        rng = np.random.default_rng([settings.seed, 32, number])
        share = rng.random()
        if share < captions:
            made = Text(((_caption(rng), True), (EOS, True)))
        elif share < vague:
            made = Text(((grammar.vague_caption(rng), True), (EOS, True)))
        elif share < judged:
            caption, drawable = _for_the_judge(rng, dirty)
            answer = " Yes" if drawable else " No"
            made = Text(((JUDGE_PROMPT.format(caption=caption), False), (answer, True), (EOS, True)))
        else:
            made = _conversation(_several(rng), rng)
        yield made
        number += 1


def dirty_captions(rows: int = _DIRT_ROWS) -> dict[str, list[str]]:
    """Texts by kind of dirt, from files like the shipped ones but with another seed."""
    found: dict[str, list[str]] = {kind: [] for kind in _NO}
    for source in files.SOURCES:
        for row in files.source_rows(source, _DIRT_SEED, rows):
            if row.truth in found and isinstance(row.text, str):
                found[row.truth].append(row.text)
    return found


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The words in random order."""
    words = text.split()
    return " ".join(words[int(i)] for i in rng.permutation(len(words)))


def _caption(rng: np.random.Generator) -> str:
    style = grammar.STYLES[int(rng.integers(len(grammar.STYLES)))]
    return grammar.caption(world.sample_scene(rng), rng, style, "full" if rng.random() < 0.2 else "varied")


def _for_the_judge(rng: np.random.Generator, dirty: dict[str, list[str]]) -> tuple[str, bool]:
    share = rng.random()
    if share < 0.5:
        return _caption(rng), True
    if share < 0.7:
        return grammar.vague_caption(rng), False
    if share < 0.9:
        return shuffled(_caption(rng), rng), False
    kind = _NO[int(rng.integers(len(_NO)))]
    text = dirty[kind][int(rng.integers(len(dirty[kind])))]
    return text[: int(rng.integers(300, 1200))], False


def _several(rng: np.random.Generator) -> Scene:
    """A scene, more often of several things than the world's: what compares things is what has to be learned."""
    scene = world.sample_scene(rng)
    return world.sample_scene(rng) if scene.count == 1 and rng.random() < 0.5 else scene


def _conversation(scene: Scene, rng: np.random.Generator) -> Text:
    """Questions about a caption that says everything; it stands where a VLM has the picture."""
    style = grammar.STYLES[int(rng.integers(len(grammar.STYLES)))]
    context = grammar.caption(scene, rng, style, "full")
    if rng.random() < 0.25:
        asked = [(INSTRUCTIONS[int(rng.integers(len(INSTRUCTIONS)))], grammar.caption(scene, rng))]
    else:
        chosen = grammar.questions(scene, rng)
        if rng.random() < 0.5:  # the kinds that compare come first, as a short conversation would miss them
            chosen.sort(key=lambda question: question.kind not in ("relation", "yes_no"))
        chosen = chosen[: 1 + int(rng.integers(6))]
        asked = [(question.question, question.answer) for question in chosen]
    parts: list[tuple[str, bool]] = []
    for turn, (question, answer) in enumerate(asked):
        start = f"USER: {context}\n" if turn == 0 else "USER: "
        parts += [(f"{start}{question} ASSISTANT:", False), (f" {answer}", True), (EOS, True)]
    return Text(tuple(parts))


def encode(text: Text, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Tokens and labels of one text, behind the start token and cut from the left where it is too long.

    Cut from the left, so that the answer behind a very long caption stays.
    """
    ids: list[int] = []
    labels: list[int] = []
    for part, learnt in text.parts:
        if part == EOS:
            piece = [tokenizer.eos_token_id]
        else:
            piece = tokenizer(part, add_special_tokens=False, split_special_tokens=True).input_ids
        ids += piece
        labels += piece if learnt else [IGNORED] * len(piece)
    keep = LONGEST - 1
    return [tokenizer.bos_token_id, *ids[-keep:]], [IGNORED, *labels[-keep:]]


def batches(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (tokens, labels) of texts of about equal length."""
    stream = texts(settings)
    rng = np.random.default_rng([settings.seed, 33])
    while True:
        pool = [encode(next(stream), tokenizer) for _ in range(_POOL)]
        pool.sort(key=lambda pair: len(pair[0]))
        cut = [0]
        for at, (row_ids, _) in enumerate(pool):
            if (at + 1 - cut[-1]) * len(row_ids) > settings.tokens and at > cut[-1]:
                cut.append(at)
        cut.append(len(pool))
        for at in rng.permutation(len(cut) - 1):
            rows = pool[cut[at] : cut[at + 1]]
            length = len(rows[-1][0])
            ids = torch.full((len(rows), length), tokenizer.pad_token_id)
            labels = torch.full((len(rows), length), IGNORED)
            for row, (row_ids, row_labels) in enumerate(rows):
                ids[row, : len(row_ids)] = torch.tensor(row_ids)
                labels[row, : len(row_labels)] = torch.tensor(row_labels)
            yield ids, labels


def build_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh model; seed torch before."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=settings.width,
            intermediate_size=settings.width * 8 // 3 // 16 * 16,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def loss_of(model: LlamaForCausalLM, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the learnt tokens, in float32."""
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[learnt].float())
    return functional.cross_entropy(logits, labels[:, 1:][learnt])


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    share = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = build_model(settings, tokenizer)
    model.to(device)
    optimizer = _optimizer(model, settings)
    model.train()
    losses: list[float] = []
    started = time.process_time()
    for step, (ids, labels) in zip(range(settings.steps), batches(settings, tokenizer), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        loss = loss_of(model, ids.to(device), labels.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if log and step % 50 == 0:
            recent = np.mean(losses[-50:])
            print(f"step {step} loss {recent:.4f} cpu {time.process_time() - started:.0f}s", flush=True)
        if checkpoint is not None and step % 500 == 499:
            save(model, tokenizer, checkpoint)
    return model.cpu().eval(), losses


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what `AutoModelForCausalLM` and `AutoTokenizer` load, weights in float16."""
    copy.deepcopy(model).cpu().half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Train the miniature language model.")
    parser.add_argument("folder", type=Path)
    defaults = Settings()
    for name in Settings.__slots__:
        value = getattr(defaults, name)
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    values = vars(parser.parse_args())
    folder = values.pop("folder")
    settings = Settings(**values)
    tokenizer = build_tokenizer(settings.seed)
    model, _ = train(settings, tokenizer, folder / "language")
    save(model, tokenizer, folder / "language")


if __name__ == "__main__":
    main()
