"""Data, vocabulary and validation of an experiment, from its config."""

import math
from collections.abc import Callable

from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.corpus import Corpus, has_validation, left_out, load_corpus
from transformer.data.marian_tokenizer import load_tokenizer
from transformer.data.pipeline import (
    EvalData,
    TrainData,
    build_eval_data,
    build_train_data,
    plan_train_data,
)
from transformer.data.prepared import open_prepared
from transformer.data.tokenizer import Tokenizer, train_tokenizer
from transformer.sharding import batch_shards
from transformer.training.step import TrainState, make_eval_step
from transformer.training.validation import Validator

Say = Callable[[str], None]


def prepare_data(
    config: Config, mesh: Mesh, tokenizer: Tokenizer | None, say: Say
) -> tuple[TrainData, Tokenizer]:
    """The training batches and the vocabulary: `tokenizer`, or the config's where that is None.

    Raises:
      UserError: see `load_corpus`, `open_prepared`, `train_tokenizer`, `plan_train_data`.
    """
    rows = _row_multiple(config, mesh)
    if config.data.source == "prepared":
        pairs, tokenizer = open_prepared(config.data, tokenizer)
        data = plan_train_data(config.data, pairs, config.seed, rows)
    else:
        corpus = load_corpus(config.data, "train", config.seed)
        tokenizer = tokenizer or _tokenizer(config, corpus, say)
        data = build_train_data(config.data, tokenizer, corpus, config.seed, rows)
    say(_summary("train", data))
    say(
        f"batches: {len(data.shapes)} shapes, {data.steps_per_epoch} steps an epoch, "
        f"padding {data.padding.share:.1%}"
    )
    return data, tokenizer


def _tokenizer(config: Config, corpus: Corpus, say: Say) -> Tokenizer:
    """The vocabulary that the config names, or one learnt on `corpus`."""
    if config.data.vocab_path:
        return load_tokenizer(config.data.vocab_path)
    say(f"learning a vocabulary of {config.data.vocab_size:,} pieces")
    sentences = (text for side in corpus for text in side)
    return train_tokenizer(sentences, config.data.vocab_size, config.data.vocab_type)


def _row_multiple(config: Config, mesh: Mesh) -> int:
    """What the rows of a batch must be a multiple of, for devices and micro-batches to share them.

    Eight at least, so that up to eight devices see the very batches that one sees; where the
    budget has no room for eight long sentences, what the mesh asks for.
    """
    needed = batch_shards(mesh) * config.training.accumulate_steps
    wanted = math.lcm(8, needed)
    return wanted if wanted * config.data.max_length <= config.data.batch_tokens else needed


def _summary(split: str, data: TrainData | EvalData) -> str:
    """How many pairs there are, and how many were left out for what reason."""
    dropped = left_out(data.dropped)
    return f"{split}: {data.num_pairs:,} pairs" + (f" (left out: {dropped})" if dropped else "")


def prepare_validation(
    config: Config,
    mesh: Mesh,
    tokenizer: Tokenizer,
    shardings: TrainState,
    say: Say,
) -> Validator | None:
    """What judges the parameters; None where there is no validation text."""
    if not has_validation(config.data):
        return None
    corpus = load_corpus(config.data, "validation", config.seed)
    data = build_eval_data(config.data, tokenizer, corpus, _row_multiple(config, mesh))
    say(_summary("validation", data))
    eval_step = make_eval_step(config, tokenizer.vocab_size, mesh, shardings)
    return Validator(config, mesh, tokenizer, corpus, data.batches, eval_step)
