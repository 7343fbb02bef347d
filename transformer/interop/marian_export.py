"""Runs as Hugging Face's Marian checkpoints, which MarianMTModel and MarianTokenizer load."""

import json
import pathlib
from typing import Any

import numpy as np

from transformer.config import Config
from transformer.data.marian_tokenizer import (
    EOS_PIECE,
    FILES,
    PAD_PIECE,
    UNK_PIECE,
    MarianTokenizer,
)
from transformer.data.tokenizer import UNK, Tokenizer
from transformer.errors import UserError
from transformer.interop import marian_files
from transformer.interop.marian_weights import marian_ids, to_marian

_LEAST_POSITIONS = 1024  # of the table of sinusoids; it is made when the model is loaded


def write(
    folder: pathlib.Path, config: Config, params: dict[str, Any], tokenizer: Tokenizer
) -> list[str]:
    """Fills `folder` with a checkpoint of a run's weights, `params` as by `split`.

    Returns:
      A sentence for each thing in which that model differs from the run.

    Raises:
      UserError: the model is one that MarianMTModel cannot be (the key is named), or safetensors
        is not installed.
    """
    notes = _differences(config)
    safetensors = marian_files.safetensors()
    tensors = to_marian(params, config.model, marian_ids(tokenizer))
    # transformers refuses a file that does not name the library it was written for.
    weights = safetensors.save(tensors, metadata={"format": "pt"})
    (folder / marian_files.WEIGHTS).write_bytes(weights)
    for name, content in _tokenizer_files(tokenizer).items():
        (folder / name).write_bytes(content)
    for name, values in _settings(config, tokenizer).items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return notes


def _differences(config: Config) -> list[str]:
    """Refuses what Marian cannot express, and tells what it expresses otherwise."""
    model, decoding = config.model, config.decoding
    for key, needed in (("norm", "post"), ("positions", "sinusoidal"), ("tie_embeddings", "all")):
        if getattr(model, key) != needed:
            raise UserError(
                f"A Marian model has only config.model.{key} = {needed!r}, but this one has "
                f"{getattr(model, key)!r}; --format=ctranslate2 can express it."
            )
    notes = []
    if model.layer_norm_epsilon != marian_files.LAYER_NORM_EPSILON:
        notes.append(
            f"transformers adds {marian_files.LAYER_NORM_EPSILON:g} to the variance in layer norms "
            f"where this run adds {model.layer_norm_epsilon:g}; log probabilities differ a little."
        )
    if decoding.length_penalty == "gnmt" and decoding.alpha:
        notes.append(
            f"transformers has no GNMT length penalty: it divides by |Y|^{decoding.alpha:g}, which "
            f"favours longer outputs than ((5 + |Y|) / 6)^{decoding.alpha:g}."
        )
    return notes


def _tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    if isinstance(tokenizer, MarianTokenizer):
        return tokenizer.files
    ids = marian_ids(tokenizer)
    pieces = ["", PAD_PIECE, EOS_PIECE, *tokenizer.pieces(range(UNK, len(ids)))]
    table = {pieces[own]: int(ids[own]) for own in np.argsort(ids)[1:]}
    content = json.dumps(table, ensure_ascii=False, indent=1).encode()
    return dict(zip(FILES, (tokenizer.model_proto, tokenizer.model_proto, content), strict=True))


def _settings(config: Config, tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """The content of the JSON files."""
    model, decoding = config.model, config.decoding
    _, pad, eos = marian_ids(tokenizer)[:3].tolist()
    longest = config.data.max_length + decoding.max_extra_length
    special = {"pad_token_id": pad, "eos_token_id": eos, "decoder_start_token_id": pad}
    sizes = {
        "layers": model.num_layers,
        "ffn_dim": model.d_ff,
        "attention_heads": model.num_heads,
    }
    architecture = {
        "architectures": ["MarianMTModel"],
        **marian_files.FIXED,
        "is_encoder_decoder": True,
        "d_model": model.d_model,
        **{f"{side}_{key}": n for side in ("encoder", "decoder") for key, n in sizes.items()},
        "activation_function": model.activation,
        "dropout": model.dropout_rate,
        "attention_dropout": model.attention_dropout_rate,
        "activation_dropout": model.feed_forward_dropout_rate,
        "max_position_embeddings": max(_LEAST_POSITIONS, longest + 1),
        "vocab_size": tokenizer.vocab_size - 1,
        "decoder_vocab_size": tokenizer.vocab_size - 1,
        **special,
        "bos_token_id": None,
        "forced_eos_token_id": None,
    }
    generation = {
        **special,
        "bad_words_ids": [[pad]],
        "num_beams": decoding.beam_size,
        "length_penalty": 0.0 if decoding.length_penalty == "none" else decoding.alpha,
        "early_stopping": "never",  # before it is certain that nothing better can come
        "max_length": longest + 1,  # which counts what the decoder begins with
    }
    tokenization = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": config.data.languages[0],
        "target_lang": config.data.languages[1],
        "eos_token": EOS_PIECE,
        "unk_token": UNK_PIECE,
        "pad_token": PAD_PIECE,
        "model_max_length": config.data.max_length,
        "clean_up_tokenization_spaces": False,
    }
    return {
        marian_files.CONFIG: architecture,
        marian_files.GENERATION: generation,
        marian_files.TOKENIZER_CONFIG: tokenization,
    }
