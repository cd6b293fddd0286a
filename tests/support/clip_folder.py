"""A tiny CLIP with random weights and a tokenizer of its own, as its libraries save them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

SIDE = 32
SCALE = 30.0
"""Trained models have 100; of random weights that leaves one class with all the probability."""

_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_MERGES = ("p h", "ph o", "pho t", "phot o</w>")


def write_clip(folder: Path) -> None:
    """Skips the test where torch or transformers are missing."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    token_count = _write_tokenizer(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64}
    sizes |= {"num_attention_heads": 4, "num_hidden_layers": 2}
    ends = {"bos_token_id": token_count - 2, "eos_token_id": token_count - 1}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**sizes, **ends, "vocab_size": token_count},
        vision_config={**sizes, "image_size": SIDE, "patch_size": 8},
        projection_dim=16,
        logit_scale_init_value=math.log(SCALE),
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    processor.save_pretrained(folder)


def write_open_clip(folder: Path) -> Any:
    """The same for open_clip, with its activations; returns the network of open_clip."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    library = pytest.importorskip("open_clip", reason="open_clip is not installed")
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    size = {"width": 32, "layers": 2}
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {**size, "image_size": SIDE, "patch_size": 8, "head_width": 8},
        "text_cfg": {**size, "vocab_size": _write_tokenizer(folder), "heads": 4},
    }
    torch.manual_seed(0)
    network = library.model.CLIP(**copy.deepcopy(config)).eval()
    with torch.no_grad():
        network.logit_scale.fill_(math.log(4))  # none of its random classes takes all
        for parameter in network.parameters():
            if parameter.ndim == 1:  # biases begin at 0, where one for another would not show
                parameter.add_(0.05 * torch.randn_like(parameter))
    safetensors.save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    stated = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.26, 0.27]}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": stated})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    return network


def _write_tokenizer(folder: Path) -> int:
    """Write the vocabulary and merges of a tokenizer that knows bytes and one word."""
    # The characters by which CLIP's tokenizer writes bytes, in the order of its vocabulary.
    others = range(256, 256 + 256 - len(_PRINTABLE))
    tokens = [chr(code) for code in (*_PRINTABLE, *others)]
    tokens += [f"{character}</w>" for character in tokens]
    tokens += [merge.replace(" ", "") for merge in _MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *_MERGES]) + "\n")
    return len(tokens)
