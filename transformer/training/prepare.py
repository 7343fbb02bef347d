"""Data, vocabulary and validation of an experiment, from its config."""

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
from jax.sharding import AbstractMesh, Mesh

from transformer import hosts
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
from transformer.data.prepared import PreparedPairs, open_prepared
from transformer.data.tokenizer import Tokenizer, train_tokenizer
from transformer.errors import UserError
from transformer.evaluation.bleu import bleu_metric
from transformer.sharding import batch_shards, row_blocks
from transformer.training.step import TrainState, make_eval_step, make_init
from transformer.training.validation import Validator

Say = Callable[[str], None]


def prepare_data(
    config: Config, tokenizer: Tokenizer | None, rows: int, say: Say
) -> tuple[TrainData, Tokenizer]:
    """The training batches and the vocabulary: `tokenizer`, or the config's where that is None.

    Every host reads the text and plans the same batches; a vocabulary is learnt by the first one.

    Args:
      rows: what the rows of a batch are a multiple of, see `row_multiple`.

    Raises:
      UserError: see `load_corpus`, `open_prepared`, `train_tokenizer`, `plan_train_data`; or the
        hosts do not have the same text.
    """
    text, tokenizer = _vocabulary(config, tokenizer, say)
    return _plan(config, text, tokenizer, rows, say), tokenizer


def prepare_start(
    config: Config, tokenizer: Tokenizer | None, mesh: Mesh, rows: int, say: Say, new: bool = True
) -> tuple[TrainData, Tokenizer, Callable[[], TrainState], TrainState]:
    """`prepare_data` and `make_init`, whose program is compiled while the text is encoded.

    With `mesh` in force the first call finds it compiled. A run that goes on has no use for it,
    and is not `new`.
    """
    text, tokenizer = _vocabulary(config, tokenizer, say)
    init, shardings = make_init(config, tokenizer.vocab_size, mesh)

    def compile_init() -> None:
        with jax.set_mesh(mesh):  # each thread has its own
            init.func.lower(*init.args).compile()

    with ThreadPoolExecutor(1) as background:
        compiling = background.submit(compile_init) if new else None
        data = _plan(config, text, tokenizer, rows, say)
        if compiling:
            compiling.result()  # or its error
    return data, tokenizer, init, shardings


def _vocabulary(
    config: Config, tokenizer: Tokenizer | None, say: Say
) -> tuple[Corpus | PreparedPairs, Tokenizer]:
    """The training text, as it is or as ids on disk, and the vocabulary."""
    if config.data.source == "prepared":
        return open_prepared(config.data, tokenizer)
    corpus = load_corpus(config.data, "train", config.seed)
    return corpus, tokenizer or _tokenizer(config, corpus, say)


def _plan(
    config: Config, text: Corpus | PreparedPairs, tokenizer: Tokenizer, rows: int, say: Say
) -> TrainData:
    """The batches of the training text."""
    if isinstance(text, PreparedPairs):
        data = plan_train_data(config.data, text, config.seed, rows)
    else:
        data = build_train_data(config.data, tokenizer, text, config.seed, rows)
    _same_data("training", data, tokenizer)
    say(_summary("train", data))
    say(
        f"batches: {len(data.shapes)} shapes, {data.steps_per_epoch} steps an epoch, "
        f"padding {data.padding.share:.1%}"
    )
    return data


def _tokenizer(config: Config, corpus: Corpus, say: Say) -> Tokenizer:
    """The vocabulary that the config names, or one learnt on `corpus`."""
    if config.data.vocab_path:
        return load_tokenizer(config.data.vocab_path)
    say(f"learning a vocabulary of {config.data.vocab_size:,} pieces")

    def learn() -> bytes:
        sentences = (text for side in corpus for text in side)
        data = config.data
        return train_tokenizer(sentences, data.vocab_size, data.vocab_type).model_proto

    return Tokenizer.from_bytes(hosts.from_first("vocabulary", learn))


def _same_data(what: str, data: TrainData | EvalData, tokenizer: Tokenizer) -> None:
    """Refuses hosts whose files differ: each would fill its rows from another order of pairs."""
    hosts.same(
        {
            "the vocabulary's SHA-256": tokenizer.fingerprint,
            f"the number of {what} pairs": data.num_pairs,
            f"the CRC-32 of the {what} pairs' lengths": data.fingerprint,
        },
        "put the same files on all hosts, or into a folder that they share",
    )


def row_multiple(config: Config, mesh: Mesh | AbstractMesh, begun: int | None = None) -> int:
    """What the rows of a batch must be a multiple of, for devices and micro-batches to share them.

    Eight at least, so that up to eight devices see the very batches that one sees; where the
    budget has no room for eight long sentences, what the mesh asks for.

    Args:
      begun: what it was in the run that goes on: another one would make other batches, and
        sentences would be lost or come twice.

    Raises:
      UserError: the mesh cannot share the rows of the run that goes on.
    """
    needed = batch_shards(mesh) * config.training.accumulate_steps
    if begun is not None:
        if begun % needed:
            raise UserError(
                f"config.mesh (with training.accumulate_steps) cuts a batch into {needed} parts, "
                f"but the rows of this run's batches are multiples of {begun}; choose data and "
                f"fsdp whose product divides {begun}, and a larger config.mesh.tensor."
            )
        return begun
    wanted = math.lcm(8, needed)
    return wanted if wanted * config.data.max_length <= config.data.batch_tokens else needed


def _summary(split: str, data: TrainData | EvalData) -> str:
    """How many pairs there are, and how many were left out for what reason."""
    dropped = left_out(data.dropped)
    return f"{split}: {data.num_pairs:,} pairs" + (f" (left out: {dropped})" if dropped else "")


def load_validation(config: Config) -> Corpus | None:
    """The validation text; None where there is none. A mistake in it costs no work before.

    Raises:
      UserError: see `load_corpus`; or there is none to end the training by.
    """
    if not has_validation(config.data):
        if config.training.patience:
            raise UserError(
                "config.training.patience counts validations, but there is no text for them; name "
                "it in config.data.validation, or set patience to 0."
            )
        return None
    bleu_metric(config.training.bleu_tokenize)  # or its error
    return load_corpus(config.data, "validation", config.seed)


def prepare_validation(
    config: Config,
    mesh: Mesh,
    tokenizer: Tokenizer,
    corpus: Corpus | None,
    shardings: TrainState,
    say: Say,
) -> Validator | None:
    """What judges the parameters by the `corpus`; None without one."""
    if corpus is None:
        return None
    data = build_eval_data(config.data, tokenizer, corpus, row_multiple(config, mesh))
    _same_data("validation", data, tokenizer)
    say(_summary("validation", data))
    eval_step = make_eval_step(config, tokenizer.vocab_size, mesh, shardings)
    batches = functools.partial(data.batches, row_blocks(mesh))
    return Validator(config, mesh, tokenizer, corpus, batches, eval_step)
