"""Runs as models of other programs."""

import pathlib
from typing import Any

import jax
import numpy as np

from transformer.config import Config
from transformer.data.tokenizer import Tokenizer
from transformer.errors import UserError, choose
from transformer.files import new_folder
from transformer.interop import ctranslate2, marian_export

FORMATS = {"ctranslate2": ctranslate2.write, "marian-hf": marian_export.write}


def export(
    output: pathlib.Path,
    form: str,
    config: Config,
    params: dict[str, Any],
    tokenizer: Tokenizer,
) -> list[str]:
    """Writes the weights `params`, nested as by `split`, as a model of another program.

    Args:
      output: a new folder, made whole or not at all.
      form: one of `FORMATS`.
      config: the run's.
      params: the run's weights.
      tokenizer: the run's.

    Returns:
      A sentence for each thing in which that model differs from the run.

    Raises:
      UserError: the format is unknown, cannot express the model or needs a package that is not
        there; or `output` is not empty or cannot be written.
    """
    write = choose(FORMATS, form, "format")
    model = config.model
    for key in ("d_k", "d_v"):
        if getattr(model, key) * model.num_heads != model.d_model:
            raise UserError(
                f"Only models whose heads share d_model evenly can be exported: config.model.{key} "
                f"is {getattr(model, key)}, not {model.d_model} / {model.num_heads}."
            )
    with new_folder(output) as folder:
        return write(folder, config, jax.tree.map(np.asarray, params), tokenizer)
