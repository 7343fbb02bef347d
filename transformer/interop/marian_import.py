"""Hugging Face's Marian checkpoints, such as the OPUS-MT models, as runs to translate and to train.

Nothing in a checkpoint is ever executed: weights are read from safetensors, not from pickles.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transformer import config as config_lib
from transformer.config import Config
from transformer.data.marian_tokenizer import EOS_PIECE, FILES, PAD_PIECE, MarianTokenizer
from transformer.errors import UserError
from transformer.files import new_folder
from transformer.interop import marian_files
from transformer.interop.marian_weights import EMBEDDING, OUTPUT_BIAS, Tensors, from_marian
from transformer.model.layers import sinusoidal_positions
from transformer.training import workdir as workdir_lib
from transformer.training.checkpoint import Checkpoints
from transformer.training.step import TrainState

_ACTIVATIONS = {"swish": "swish", "silu": "swish", "relu": "relu"}
_TIED = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
_POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")


def import_run(directory: pathlib.Path, workdir: pathlib.Path, base: Config) -> Config:
    """Makes a run of a checkpoint; its weights are those of step 0, which training goes on from.

    Args:
      directory: the checkpoint.
      workdir: the new run's folder, made whole or not at all.
      base: the config of all that the checkpoint does not decide.

    Returns:
      The run's config.

    Raises:
      UserError: see `read`; or `workdir` is not empty or cannot be written.
    """
    with new_folder(workdir) as folder:
        config, tokenizer, params = read(directory, base)
        workdir_lib.claim(folder, config, tokenizer)
        workdir_lib.describe(folder, params)
        checkpoints = Checkpoints(folder, keep_last=1, keep_best=0)
        arrays = jax.tree.map(jnp.asarray, params)
        checkpoints.save(TrainState(jnp.zeros((), jnp.int32), arrays, None, None), {})
        checkpoints.close()
    return config


def read(directory: pathlib.Path, base: Config) -> tuple[Config, MarianTokenizer, dict[str, Any]]:
    """Config, tokenizer and parameters (nested as by `split`, NumPy's) of a checkpoint.

    The model computes what MarianMTModel computes. Dropout, the beam size and the exponent of the
    length penalty are the checkpoint's too, and so are the languages where it names them.

    Raises:
      UserError: a file is missing or damaged, or the model is one that this project's cannot be;
        the file and the key or tensor are named.
    """
    try:
        said = _read_json(directory, marian_files.CONFIG)
        _check_kind(said)
        tokenizer = MarianTokenizer.from_files({name: _read(directory, name) for name in FILES})
        _check_ids(said, tokenizer)
        config = _config(directory, said, tokenizer, base)
        params = from_marian(_read_tensors(directory), config.model, tokenizer.marian_ids)
    except UserError as error:
        raise UserError(f"{directory} cannot be imported: {error}") from error
    return config, tokenizer, params


def _check_kind(said: dict[str, Any]) -> None:
    """Refuses a config.json of an architecture that this model cannot have."""
    if said.get("model_type") != "marian":
        raise UserError("config.json is not that of a Marian model, whose model_type is 'marian'.")
    for key, value in marian_files.FIXED.items():
        # A missing key stands for that value, save this one, which is off unless it is on.
        found = said.get(key, value if key != "scale_embedding" else False)
        if found != value:
            raise UserError(f"config.json has {key} = {found!r}; this model has only {value!r}.")
    for key in ("layers", "ffn_dim", "attention_heads"):
        if said.get(f"encoder_{key}") != said.get(f"decoder_{key}"):
            raise UserError(f"config.json has encoder_{key} and decoder_{key} that differ.")
    for key in ("encoder_layers", "encoder_ffn_dim", "encoder_attention_heads", "d_model"):
        if key not in said:
            raise UserError(f"config.json has no {key}.")
    if said.get("activation_function") not in _ACTIVATIONS:
        raise UserError(
            f"config.json has activation_function = {said.get('activation_function')!r}; this "
            "model has only 'swish' and 'relu'."
        )


def _check_ids(said: dict[str, Any], tokenizer: MarianTokenizer) -> None:
    """Refuses a table whose ids are not the rows of the weights."""
    _, pad, eos = tokenizer.marian_ids[:3].tolist()
    pieces = tokenizer.vocab_size - 1
    for key, needed, what in (
        ("vocab_size", pieces, "the number of pieces in vocab.json"),
        ("decoder_vocab_size", pieces, "the number of pieces in vocab.json"),
        ("pad_token_id", pad, f"the id of {PAD_PIECE} in vocab.json"),
        ("decoder_start_token_id", pad, f"the id of {PAD_PIECE} in vocab.json"),
        ("eos_token_id", eos, f"the id of {EOS_PIECE} in vocab.json"),
    ):
        if said.get(key, needed) not in (needed, None):
            raise UserError(f"config.json has {key} = {said[key]!r}, but {what} is {needed}.")


def _config(
    directory: pathlib.Path, said: dict[str, Any], tokenizer: MarianTokenizer, base: Config
) -> Config:
    generation = said | _read_json(directory, marian_files.GENERATION, optional=True)
    generation = {key: value for key, value in generation.items() if value is not None}
    names = _read_json(directory, marian_files.TOKENIZER_CONFIG, optional=True)
    values = config_lib.to_dict(base)
    values["model"] |= {
        "num_layers": said["encoder_layers"],
        "d_model": said["d_model"],
        "d_ff": said["encoder_ffn_dim"],
        "num_heads": said["encoder_attention_heads"],
        "d_k": 0,
        "d_v": 0,
        "dropout_rate": said.get("dropout", base.model.dropout_rate),
        "attention_dropout_rate": said.get("attention_dropout", 0.0),
        "feed_forward_dropout_rate": said.get("activation_dropout", 0.0),
        "norm": "post",
        "positions": "sinusoidal",
        "tie_embeddings": "all",
        "activation": _ACTIVATIONS[said["activation_function"]],
        "attention_bias": True,
        "output_bias": True,
        "layer_norm_epsilon": marian_files.LAYER_NORM_EPSILON,
    }
    values["data"]["vocab_size"] = tokenizer.vocab_size
    if names.get("source_lang") and names.get("target_lang"):
        values["data"]["languages"] = names["source_lang"], names["target_lang"]
    values["decoding"] |= {
        "beam_size": generation.get("num_beams", base.decoding.beam_size),
        "length_penalty": "power",
        "alpha": generation.get("length_penalty", 1.0),  # 1 is transformers' default
    }
    return config_lib.from_dict(values)


def _read_tensors(directory: pathlib.Path) -> Tensors:
    """The tensors of a checkpoint, each once, and without the sinusoids."""
    path = directory / marian_files.WEIGHTS
    if not path.exists():
        raise UserError(
            "it holds no model.safetensors; other files of weights become one by transformers' "
            "MarianMTModel.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY)."
        )
    safetensors = marian_files.safetensors()
    try:
        tensors = dict(safetensors.load_file(path))
    except Exception as error:  # safetensors' own, OSError, or a type that NumPy lacks
        raise UserError(f"model.safetensors cannot be read ({error}).") from error
    for name in _POSITIONS:
        if name in tensors:
            table = np.asarray(tensors.pop(name), np.float32)
            ours = sinusoidal_positions(*table.shape)
            if not np.allclose(table, np.concatenate([ours[:, 0::2], ours[:, 1::2]], 1), atol=1e-2):
                raise UserError(f"the tensor {name} holds no sinusoids, but other positions.")
    for name in _TIED:
        if name in tensors:
            matrix = tensors.pop(name)
            if not np.array_equal(tensors.setdefault(EMBEDDING, matrix), matrix):
                raise UserError(f"the tensor {name} is not the same as {EMBEDDING}.")
    if EMBEDDING in tensors:
        tensors.setdefault(OUTPUT_BIAS, np.zeros((1, len(tensors[EMBEDDING])), np.float32))
    return tensors


def _read(directory: pathlib.Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise UserError(f"its {name} cannot be read ({error.strerror}).") from error


def _read_json(directory: pathlib.Path, name: str, optional: bool = False) -> dict[str, Any]:
    """The keys of a file; none where an optional one is missing."""
    if optional and not (directory / name).exists():
        return {}
    try:
        values = json.loads(_read(directory, name))
    except ValueError as error:
        raise UserError(f"its {name} is not valid JSON.") from error
    if not isinstance(values, dict):
        raise UserError(f"its {name} holds no keys.")
    return values
