"""CLIP folders of open_clip, read as the network of transformers that computes the same.

Both libraries have the same vision transformer and text transformer under other names, so that
open_clip itself is not needed. Names and shapes are those of open_clip 3.3 and transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustness.base.errors import WeightsError
from robustness.base.validation import read_object
from robustness.models.engine import first_line
from robustness.models.formats import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS
from robustness.models.torch import (
    at_most_parts,
    check_numbers,
    check_parameters,
    check_safetensors,
    offline,
    package,
)

_READ = {
    "model_cfg": ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu"),
    "vision_cfg": ("image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"),
    "text_cfg": ("context_length", "vocab_size", "layers", "width", "heads", "mlp_ratio"),
}
"""The keys of each part of the configuration that are read."""

_OTHERS: Mapping[str, Mapping[str, Any]] = {
    "model_cfg": {},
    "vision_cfg": {"pos_embed_type": "learnable", "pool_type": "tok", "block_type": "default"},
    "text_cfg": {"pool_type": "argmax", "proj_type": "linear", "block_type": "default"},
}
"""The values of other keys that are those of a plain network."""

_WITHOUT_EFFECT = (
    "attn_pooler_heads",
    "attn_pooler_queries",
    "custom_text",  # only names the weights otherwise
    "eos_id",
    "hf_model_pretrained",
    "hf_pooler_type",
    "hf_proj_type",
    "hf_tokenizer_name",
    "init_logit_scale",
    "output_tokens",
    "patch_dropout",
    "timm_pool",
    "timm_proj",
)
"""Keys that say nothing of the predictions of a plain network."""

_NAMES = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
}

_TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}

_STARTS = {
    "ln_final.": "text_model.final_layer_norm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
}

_WITHIN_LAYERS = {
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}

_JOINED = ".attn.in_proj_"
"""Queries, keys and values are one tensor in open_clip."""


def read_open_clip(folder: Path) -> tuple[Any, Any]:
    """The configuration and the network of the CLIP ``folder`` of open_clip, as of transformers.

    Raises ``ParameterError`` where a package is missing, ``WeightsError`` for a folder that cannot
    be used.
    """
    transformers = package("transformers")
    torch = package("torch")
    safetensors = package("safetensors.torch")
    weights = folder / OPEN_CLIP_WEIGHTS
    check_safetensors(weights)
    try:
        check_numbers(folder / OPEN_CLIP_CONFIG)
        config = transformers.CLIPConfig(**_config(read_object(folder / OPEN_CLIP_CONFIG)))
        with offline(), at_most_parts(torch):
            with torch.device("meta"):  # takes no memory
                planned = transformers.CLIPModel(config)
            check_parameters(planned, weights, OPEN_CLIP_CONFIG)
            clip = transformers.CLIPModel(config)
        clip.load_state_dict(_renamed(safetensors.load_file(weights)))
    except Exception as error:  # they raise anything for a folder that is none
        reason = first_line(error).removesuffix(".")
        raise WeightsError(f"{folder} cannot be used as a CLIP model: {reason}.") from error
    return config, clip


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of transformers' configuration that describe the network of ``values``."""
    model = values["model_cfg"]
    vision = model["vision_cfg"]
    text = model["text_cfg"]
    for section, entries in (("model_cfg", model), ("vision_cfg", vision), ("text_cfg", text)):
        _check_plain(section, entries)
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    width = int(vision.get("width", 768))
    text_width = int(text.get("width", 512))
    token_count = int(text.get("vocab_size", 49_408))
    return {
        "projection_dim": int(model["embed_dim"]),
        "vision_config": {
            **_transformer(vision, width, width // int(vision.get("head_width", 64)), activation),
            "image_size": int(vision.get("image_size", 224)),
            "patch_size": int(vision.get("patch_size", 16)),
        },
        "text_config": {
            **_transformer(text, text_width, int(text.get("heads", 8)), activation),
            "max_position_embeddings": int(text.get("context_length", 77)),
            "vocab_size": token_count,
            "bos_token_id": token_count - 2,
            "eos_token_id": token_count - 1,  # open_clip takes the highest number for the end
        },
    }


def _transformer(
    section: Mapping[str, Any], width: int, head_count: int, activation: str
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": int(width * float(section.get("mlp_ratio", 4.0))),
        "num_attention_heads": head_count,
        "num_hidden_layers": int(section.get("layers", 12)),
        "hidden_act": activation,
    }


def _check_plain(section: str, entries: Mapping[str, Any]) -> None:
    """Raise ``WeightsError`` for a network that is more than the two plain transformers."""
    for key, value in entries.items():
        if key in _READ[section] or key in _WITHOUT_EFFECT or not value:
            continue
        if value != _OTHERS[section].get(key):
            raise WeightsError(
                f"expected the plain vision and text transformers of open_clip, got {key} in its "
                f"{section}"
            )


def _renamed(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The ``tensors`` of open_clip by their names in transformers."""
    renamed = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("text.")
        if bare in _NAMES:
            renamed[_NAMES[bare]] = tensor
        elif bare in _TRANSPOSED:
            renamed[_TRANSPOSED[bare]] = tensor.T
        else:
            renamed.update(_of_layer(bare, tensor))
    return renamed


def _of_layer(name: str, tensor: Any) -> dict[str, Any]:
    """``tensor`` by its name within a layer, or the three that are joined in it."""
    for start, ours in _STARTS.items():
        if name.startswith(start):
            name = ours + name.removeprefix(start)
            break
    for part, ours in _WITHIN_LAYERS.items():
        name = name.replace(part, ours)
    layer, joined, kind = name.partition(_JOINED)
    if not joined:
        return {name: tensor}
    parts = zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True)
    return {f"{layer}.self_attn.{part}.{kind}": values for part, values in parts}
