"""CLIP's vision tower as transformers loads it, for a LLaVA.

Belongs here: the conversion of weights, the folder `clip-vision`. Does not belong here: any training.
"""

from pathlib import Path
from typing import Any

from synthvlm_miniature.training.clip.model import MEAN, MODEL_CONFIG, PATCH, STD
from synthvlm_miniature.training.pixels import RESOLUTION


def to_transformers(model: Any) -> Any:
    """The vision tower as a float32 `CLIPVisionModel`; its `pooler_output @ visual.proj` is the embedding."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    vision = MODEL_CONFIG["vision_cfg"]
    tower: Any = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=vision["width"],
            intermediate_size=4 * vision["width"],
            num_hidden_layers=vision["layers"],
            num_attention_heads=vision["width"] // vision["head_width"],
            image_size=RESOLUTION,
            patch_size=PATCH,
            projection_dim=MODEL_CONFIG["embed_dim"],
            hidden_act="gelu",
        )
    )
    tower.eval()
    wanted = tower.state_dict()
    source = model.visual.state_dict()
    outer = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm.": "ln_pre.",
        "post_layernorm.": "ln_post.",
    }
    inner = {
        "layer_norm1.": "ln_1.",
        "layer_norm2.": "ln_2.",
        "mlp.fc1.": "mlp.c_fc.",
        "mlp.fc2.": "mlp.c_proj.",
        "self_attn.out_proj.": "attn.out_proj.",
    }
    state = {}
    for name in wanted:
        if name.endswith("position_ids"):
            state[name] = wanted[name]
            continue
        short = name.removeprefix("vision_model.")
        if short.startswith("encoder.layers."):
            layer, rest = short.removeprefix("encoder.layers.").split(".", 1)
            block = f"transformer.resblocks.{layer}."
            if rest.startswith(("self_attn.q_", "self_attn.k_", "self_attn.v_")):
                part = "qkv".index(rest[len("self_attn.")])
                state[name] = source[f"{block}attn.in_proj_{rest.rsplit('.', 1)[1]}"].chunk(3)[part].clone()
                continue
            old = next(key for key in inner if rest.startswith(key))
            state[name] = source[block + inner[old] + rest.removeprefix(old)]
        else:
            old = next(key for key in outer if short.startswith(key))
            state[name] = source[outer[old] + short.removeprefix(old)]
    tower.load_state_dict(state)
    return tower


def save(model: Any, folder: Path) -> None:
    """Write the vision tower and its image processor as transformers loads them, in float16."""
    from transformers import CLIPImageProcessorPil

    to_transformers(model).half().save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": RESOLUTION},
        crop_size={"height": RESOLUTION, "width": RESOLUTION},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(folder)
