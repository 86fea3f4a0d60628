"""The Llama, and the folder that transformers loads it from.

Belongs here: its shape, writing `language`. Does not belong here: its training (loop.py).
"""

from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from synthvlm_miniature.training.byte_bpe import VOCABULARY
from synthvlm_miniature.training.language.settings import Settings
from synthvlm_miniature.training.saving import half


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


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what `AutoModelForCausalLM` and `AutoTokenizer` load, weights in float16."""
    half(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
