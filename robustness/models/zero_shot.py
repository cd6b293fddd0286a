"""Zero-shot classifiers: a CLIP folder of transformers or open_clip, with any list of classes.

The network is the image encoder and a matrix with a column for each class, which the text encoder
computes once: Radford et al., *Learning Transferable Visual Models From Natural Language
Supervision*, ICML 2021, section 3.1.4. The matrix is kept in the cache, and the network is exported
to a graph as other networks of torch are.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base import settings
from robustness.base.errors import RobustnessError, WeightsError
from robustness.base.files import file_errors, read_regular, require_regular, write_whole
from robustness.base.validation import read_object
from robustness.models.classifier import Classifier
from robustness.models.conversion import Conversion, inspect_and_convert, use_of, written_pass
from robustness.models.engine import Floats, first_line
from robustness.models.formats import (
    CLIP,
    CONFIG,
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    SAFETENSORS,
    TOKENIZER,
    VOCABULARY,
    ZERO_SHOT,
    all_files,
    format_of,
)
from robustness.models.metadata import shape_of, size_of, stated_entry
from robustness.models.open_clip import read_open_clip
from robustness.models.python import LiveModel
from robustness.models.record import TEMPLATE, ModelRecord, UserFile
from robustness.models.sources import user_file
from robustness.models.torch import (
    difference_of_graph,
    offline,
    open_module,
    package,
    read_hugging_face,
)
from robustness.models.weights import files_digest, mark_unusable

_MOST_PROMPTS = 100_000
"""Labels times templates: ImageNet's classes with the 80 templates of the paper are 80,000."""

_PROMPTS_AT_ONCE = 64

_LARGEST_TOKENIZER = 64 * 2**20  # bytes of each of its files

_MOST_MATRICES = 16
"""That the cache keeps; a thousand classes take 2 to 3 MB."""

_LARGEST_MATRIX = 2**30  # bytes


def folder_facts(folder: Path) -> Mapping[str, Any]:
    """What the CLIP ``folder`` tells of itself, as ``conversion.describe_file`` does of a file."""
    model_format = format_of(folder)
    entry, sources = stated_entry(folder / SAFETENSORS)
    entry["templates"] = [TEMPLATE]
    sources["templates"] = "the default"
    shape = None
    with suppress(Exception):  # it may hold anything
        shape = shape_of(_vision_values(folder).get("image_size", 224))
    if shape is not None:
        entry["input_size"] = size_of(*shape)
        sources["input_size"] = model_format.files[0]
    return {
        "format": model_format.name,
        "entry": entry,
        "told_by": sources,
        "outputs": None,
        "classes": (),
        "warning": "",
    }


def _vision_values(folder: Path) -> Mapping[str, Any]:
    """The part of the configuration of the CLIP ``folder`` that describes its image encoder."""
    values: Mapping[str, Any]
    if format_of(folder) is CLIP:
        values = read_object(folder / CONFIG)["vision_config"]
    else:
        values = read_object(folder / OPEN_CLIP_CONFIG)["model_cfg"]["vision_cfg"]
    return values


def convert(record: ModelRecord, side: int, target: Path) -> Conversion:
    """Do as ``inspect_and_convert``; a CLIP folder is exported first.

    Raises ``ParameterError`` where a package for that is missing.
    """
    if record.weights.format not in ZERO_SHOT:
        return inspect_and_convert(record, side, target)
    try:
        return _exported(record, side, target)
    except WeightsError as error:
        with suppress(OSError, RobustnessError):  # one without content is not known by it
            mark_unusable(record, str(error))
        raise


def _exported(record: ModelRecord, side: int, target: Path) -> Conversion:
    file = record.weights.own
    assert file, "a model of the user's"
    model = open_zero_shot(record)
    assert model.export, "a network of torch"
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = model.export(Path(folder), record.shape)
        except Exception as error:  # an exporter raises anything
            raise WeightsError(
                f"{record.name}: its graph could not be exported ({first_line(error)})."
            ) from error
        graph = UserFile(path, "logits", file.features, kind=model.kind)
        exported = replace(record, weights=user_file(graph))
        conversion = inspect_and_convert(exported, side, target)
        forward = written_pass(target, lambda _: conversion)
        if isinstance(forward, str):
            return conversion
        network = partial(forward.network, record.label)
        classifier = Classifier(exported, forward, network, side)
        difference = difference_of_graph(model, classifier, use_of(exported, side))
    if difference:
        raise WeightsError(f"{record.name}: {difference}.")
    return conversion


def open_zero_shot(record: ModelRecord) -> LiveModel:
    """The classifier of the CLIP folder of ``record``, which answers with logits.

    Raises ``ParameterError`` where a package is missing, ``WeightsError`` for a folder, classes or
    templates that cannot be used.
    """
    file = record.weights.own
    assert file, "a model of the user's"
    names = record.labels().names
    _check_prompts(record.name, len(names), len(file.templates))
    _check_tokenizer(file.path)
    model_format = format_of(file.path)
    if model_format is CLIP:
        config, clip = read_hugging_face(file.path, "AutoModel", "a CLIP model")
    else:
        config, clip = read_open_clip(file.path)
    sides = shape_of(config.vision_config.image_size)
    if sides != record.shape:
        raise WeightsError(
            f"{record.name}: expected input_size = {config.vision_config.image_size}, as its "
            f"{model_format.files[0]} says, got {record.input_text}."
        )
    clip = clip.float().eval()
    matrix = _text_matrix(file.path, clip, names, file.templates)
    model = open_module(_network(clip, matrix))
    return replace(model, kind="CLIP")


def _network(clip: Any, matrix: Floats) -> Any:
    """The module from images to logits: cosines with the rows of ``matrix``, times the scale."""
    torch = package("torch")
    module_type: Any = torch.nn.Module

    class ZeroShot(module_type):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = clip.vision_model
            self.projection = clip.visual_projection
            scaled = clip.logit_scale.exp() * torch.from_numpy(matrix.T.copy())
            self.register_buffer("classes", scaled.detach())

        def forward(self, images: Any) -> Any:
            embedding = self.projection(self.encoder(pixel_values=images).pooler_output)
            embedding = embedding / embedding.norm(dim=-1, keepdim=True)
            return embedding @ self.classes

    return ZeroShot()


# --- texts ----------------------------------------------------------------------------------------


def _check_prompts(name: str, label_count: int, template_count: int) -> None:
    prompt_count = label_count * template_count
    if prompt_count > _MOST_PROMPTS:
        raise WeightsError(
            f"{name}: expected at most {_MOST_PROMPTS:,} prompts, got {prompt_count:,} of "
            f"{label_count:,} labels and {template_count} templates: use fewer."
        )


def _check_tokenizer(folder: Path) -> None:
    """Raises ``WeightsError`` unless the files of a tokenizer are there, and not too large."""
    has_vocabulary = all((folder / name).is_file() for name in VOCABULARY)
    if not has_vocabulary and not (folder / TOKENIZER).is_file():
        raise WeightsError(
            f"{folder} has no tokenizer: expected {TOKENIZER}, or {' and '.join(VOCABULARY)}."
        )
    for name in format_of(folder).files:
        path = folder / name
        if name not in (SAFETENSORS, OPEN_CLIP_WEIGHTS) and path.exists():
            with file_errors(f"{path} is not loaded", kind=WeightsError):
                require_regular(path, _LARGEST_TOKENIZER)


def _text_matrix(folder: Path, clip: Any, names: Sequence[str], templates: Sequence[str]) -> Floats:
    """A row of length 1 for each class (classes, D), from the cache if it is there.

    The row is the mean of the normalised embeddings of the class in each of ``templates``.
    """
    everything = (files_digest(all_files(folder)), tuple(names), tuple(templates))
    key = hashlib.sha256(repr(everything).encode()).hexdigest()
    kept = settings.cache_folder() / "texts" / f"{key}.npy"
    shape = (len(names), clip.text_projection.out_features)
    with suppress(OSError, ValueError):
        matrix: Floats = np.load(
            io.BytesIO(read_regular(kept, _LARGEST_MATRIX)), allow_pickle=False
        )
        if matrix.shape == shape and matrix.dtype == np.float32:
            return matrix
    matrix = _encoded(folder, clip, names, templates)
    content = io.BytesIO()
    np.save(content, matrix)
    with suppress(OSError):  # the cache is not writable
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, content.getvalue())
        by_age = sorted(kept.parent.glob("*.npy"), key=lambda path: path.stat().st_mtime)
        for older in by_age[:-_MOST_MATRICES]:
            older.unlink(missing_ok=True)
    return matrix


def _encoded(folder: Path, clip: Any, names: Sequence[str], templates: Sequence[str]) -> Floats:
    torch = package("torch")
    tokenizer = _tokenizer(folder)
    total = torch.zeros(len(names), clip.text_projection.out_features)
    with torch.inference_mode():
        for template in templates:
            rows = []
            for start in range(0, len(names), _PROMPTS_AT_ONCE):
                some = names[start : start + _PROMPTS_AT_ONCE]
                prompts = [template.replace("{}", name) for name in some]
                tokens = _tokens(folder, tokenizer, clip.config.text_config, prompts)
                embeddings = clip.text_projection(clip.text_model(**tokens).pooler_output)
                rows.append(embeddings / embeddings.norm(dim=-1, keepdim=True))
            total += torch.cat(rows)
        # The sum has the direction of the mean.
        matrix: Floats = (total / total.norm(dim=-1, keepdim=True)).numpy()
    if not np.isfinite(matrix).all():
        raise WeightsError(f"{folder}: its text encoder gives numbers that are not finite.")
    return matrix


def _tokenizer(folder: Path) -> Any:
    transformers = package("transformers")
    try:
        with offline():
            # Not the class that the folder names, which may be any.
            return transformers.CLIPTokenizerFast.from_pretrained(
                str(folder), local_files_only=True
            )
    except Exception as error:  # it raises anything for files that are none
        raise _unusable_tokenizer(folder, error) from error


def _unusable_tokenizer(folder: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{folder}: its tokenizer cannot be used ({first_line(error)}).")


def _tokens(folder: Path, tokenizer: Any, config: Any, prompts: Sequence[str]) -> Mapping[str, Any]:
    """The arguments of the text encoder for ``prompts``.

    Raises ``WeightsError`` for prompts that are too long for it, and tokens that it does not know.
    """
    try:
        encoded = tokenizer(prompts, padding=True, truncation=False, return_tensors="pt")
        ids = encoded["input_ids"]
        mask = encoded["attention_mask"]
    except Exception as error:  # as above
        raise _unusable_tokenizer(folder, error) from error
    most = config.max_position_embeddings
    lengths = mask.sum(dim=1)
    if int(lengths.max()) > most:
        longest = prompts[int(lengths.argmax())]
        raise WeightsError(
            f"Expected prompts of at most {most} tokens, got {int(lengths.max())} for "
            f"{longest[:80]!r}: shorten the label or the template."
        )
    if int(ids.max()) >= config.vocab_size:
        raise WeightsError(
            f"{folder}: its tokenizer does not fit its text encoder, which knows "
            f"{config.vocab_size:,} tokens: it gives number {int(ids.max()):,}."
        )
    return {"input_ids": ids, "attention_mask": mask}
