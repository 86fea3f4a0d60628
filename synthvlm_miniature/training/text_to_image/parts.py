"""What the later stages train together: two text encoders, the denoiser and the read-out.

Belongs here: building them, their state, conditioning as the pipeline does it. Does not belong here: their shapes
(shapes.py), the pipeline itself (pipeline.py).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from synthvlm_miniature.training.text_to_image.autoencoder import DIFFUSERS, Model
from synthvlm_miniature.training.text_to_image.readout import ReadOut
from synthvlm_miniature.training.text_to_image.shapes import PROJECTION, TEXT_1, TEXT_2, UNET
from synthvlm_miniature.training.text_to_image.tokenizer import LENGTH


@dataclass
class Parts:
    """What is trained here: two text encoders, the denoiser and the read-out."""

    text_1: Model
    text_2: Model
    unet: Model
    readout: ReadOut

    @classmethod
    def build(cls, tokenizer: CLIPTokenizer, seed: int, device: torch.device) -> "Parts":
        """Fresh parts; the seed decides their weights."""
        torch.manual_seed(seed)
        shared: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": LENGTH,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "hidden_act": "gelu",
        }
        text_1: Model = CLIPTextModel(CLIPTextConfig(**shared, **TEXT_1))
        text_2: Model = CLIPTextModelWithProjection(CLIPTextConfig(**shared, **TEXT_2, projection_dim=PROJECTION))
        unet = DIFFUSERS.UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)
        return cls(text_1.to(device), text_2.to(device), unet.to(device), ReadOut().to(device))

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything that is trained, by name."""
        return {"text_1": self.text_1, "text_2": self.text_2, "unet": self.unet, "readout": self.readout}

    @property
    def state(self) -> dict[str, Any]:
        """The weights, as `load` takes them."""
        return {name: module.state_dict() for name, module in self.modules.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up the weights of a `state`."""
        for name, module in self.modules.items():
            module.load_state_dict(state[name])

    def text_parameters(self) -> list[nn.Parameter]:
        """Those of both text encoders and the read-out."""
        modules = (self.text_1, self.text_2, self.readout)
        return [parameter for module in modules for parameter in module.parameters()]

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As the pipeline conditions: sequence, pooled embedding; and the embeddings that are asked."""
        tokens = tokens.long()
        first = self.text_1(tokens, output_hidden_states=True).hidden_states[-2]
        second = self.text_2(tokens, output_hidden_states=True)
        end = tokens.eq(self.text_2.config.eos_token_id).int().argmax(dim=1)
        rows = torch.arange(len(tokens), device=tokens.device)
        hidden = second.hidden_states[-2]
        asked = [first[rows, end], second.hidden_states[-3][rows, end], hidden[rows, end], second.text_embeds]
        return torch.cat([first, hidden], dim=-1), second.text_embeds, asked
