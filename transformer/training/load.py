"""A trained run as something that translates: its folder alone is enough."""

import pathlib
from typing import NamedTuple

import jax

from transformer.config import Config
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.translate import Translation, Translator
from transformer.model.encoder_decoder import split
from transformer.sharding import make_mesh, replicated
from transformer.training import workdir as workdir_lib
from transformer.training.checkpoint import read_weights, saved_steps
from transformer.training.step import abstract_model


class TrainedModel(NamedTuple):
    """Weights, and what turns text into text with them."""

    config: Config
    tokenizer: Tokenizer
    translator: Translator
    params: dict
    steps: list[int]  # of the checkpoints whose mean the weights are

    def translate(self, lines: list[str], **options) -> list[Translation]:
        """One translation a line; see `Translator.translate`."""
        return self.translator.translate(self.params, lines, **options)


def load(
    workdir: pathlib.Path,
    config: Config,
    average: int | None = None,
    best: bool = False,
    step: int | None = None,
) -> TrainedModel:
    """Reads the weights of a run; every device holds all of them.

    Args:
      workdir: the run's folder.
      config: the run's, perhaps with other decoding.
      average: the mean of so many checkpoints; None is the config's `average_last`, or as many
        as there are, and a single one with `best` or `step`.
      best: the weights with the best validation BLEU instead.
      step: this checkpoint instead of the last.

    Raises:
      UserError: see `workdir.load` and `checkpoint.read_weights`.
    """
    _, tokenizer = workdir_lib.load(workdir)
    graphdef, shapes = split(abstract_model(config.model, tokenizer.vocab_size))
    mesh = make_mesh(config.mesh)
    sharding = replicated(mesh)
    template = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding), shapes
    )
    if average is None:
        single = best or step is not None
        held = len(saved_steps(workdir))
        average = 1 if single else max(1, min(config.training.average_last, held))
    ema = config.training.ema_decay > 0
    params, steps = read_weights(workdir, template, ema, average, best, step)
    translator = Translator(graphdef, tokenizer, config.decoding, config.data.max_length, mesh)
    return TrainedModel(config, tokenizer, translator, params, steps)
