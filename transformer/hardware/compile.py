"""Compiles the functions that train and decode, for a mesh of devices that need not be there."""

import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.batching import Batch
from transformer.data.tokenizer import EOS
from transformer.decoding.decode import jit_decode, queue_for, slots_for
from transformer.decoding.line_batches import cut_lines
from transformer.errors import UserError
from transformer.model.encoder_decoder import split
from transformer.sharding import batch_sharding, batch_shards
from transformer.training.step import (
    TrainState,
    abstract_model,
    make_init,
    make_train_step,
    state_template,
)


class BatchShape(NamedTuple):
    """A global batch: `rows` of `length` tokens on either side."""

    rows: int
    length: int


class OutOfMemory(Exception):
    """The compiler found that a program does not fit; `needed` and `available` are bytes."""

    def __init__(self, needed: int, available: int):
        super().__init__(needed, available)
        self.needed, self.available = needed, available


def training_batch(config: Config, mesh: Mesh, tokens: int, length: int) -> BatchShape:
    """As many rows as `tokens` have room for and devices and micro-batches share evenly.

    Raises:
      UserError: there is not one row for each of them.
    """
    multiple = batch_shards(mesh) * config.training.accumulate_steps
    rows = tokens // length // multiple * multiple
    if not rows:
        raise UserError(
            f"A batch of {tokens} tokens has {tokens // length} rows of {length}, which do not "
            f"divide over {batch_shards(mesh)} shards of the mesh and "
            f"{config.training.accumulate_steps} micro-batches; raise config.data.batch_tokens or "
            "--tokens_per_device, or lower --length."
        )
    return BatchShape(rows, length)


def lower_training(
    config: Config, mesh: Mesh, shape: BatchShape
) -> tuple[jax.stages.Lowered, TrainState]:
    """`transformer.training.step.make_train_step` for such a batch, and the shapes of its state.

    They are `jax.ShapeDtypeStruct`s with their shardings.
    """
    state, shardings = _abstract_state(config, mesh)
    train_step = make_train_step(config, config.data.vocab_size, mesh, shardings)
    ids = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=batch_sharding(mesh))
    positions = ids if config.data.packing else None
    batch = Batch(ids, ids, positions, ids, ids, ids, positions)
    with jax.set_mesh(mesh):
        # make_train_step returns a jitted function with its first argument, the seed, bound.
        lowered = train_step.func.lower(*train_step.args, state, batch)
    return lowered, state


def decoding_batch(config: Config, mesh: Mesh, length: int) -> tuple[int, BatchShape]:
    """The slots and the sources of a full batch, as `Translator` cuts them."""
    decoding = config.decoding
    beam = decoding.strategy == "beam"
    beams, queue = (decoding.beam_size, queue_for(mesh)) if beam else (1, 1)
    lines = 8 * (decoding.batch_tokens + batch_shards(mesh))
    batch = next(
        cut_lines(
            range(lines),
            [[EOS] * length] * lines,
            None,
            max_length=length,
            max_extra_length=decoding.max_extra_length,
            slots_for=lambda length: slots_for(decoding, beams, length, not beam, mesh),
            queue=queue,
            row_multiple=batch_shards(mesh),
        )
    )
    return batch.slots, BatchShape(*batch.source.shape)


def lower_decoding(
    config: Config, mesh: Mesh, slots: int, shape: BatchShape
) -> tuple[jax.stages.Lowered, TrainState]:
    """The function that `transformer.decoding.translate.Translator` compiles, likewise."""
    state, _ = _abstract_state(config, mesh)
    graphdef = split(abstract_model(config.model, config.data.vocab_size))[0]
    rows = batch_sharding(mesh)
    source = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows)
    numbers = jax.ShapeDtypeStruct(shape[:1], jnp.int32, sharding=rows)
    decode = jit_decode(graphdef, config.decoding, mesh)
    options = {"slots": slots, "num_return": 1, "leave": True, "whole": False}
    with jax.set_mesh(mesh):
        lowered = decode.lower(state.params, source, numbers, numbers, None, **options)
    return lowered, state


def compile_program(lowered: jax.stages.Lowered, mesh: Mesh) -> jax.stages.Compiled:
    """Raises OutOfMemory where the compiler itself says that the program does not fit."""
    try:
        with jax.set_mesh(mesh):
            return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if (sizes := _hbm_sizes(str(error))) is None:
            raise
        raise OutOfMemory(*sizes) from None


def _hbm_sizes(message: str) -> tuple[int, int] | None:
    """What a program needs and what there is, from a message of the compiler for TPUs."""
    patterns = (
        r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)",
        r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm",
    )
    for pattern in patterns:
        if found := re.search(pattern, message):
            number, unit, limit, limit_unit = found.groups()
            return _bytes(number, unit), _bytes(limit, limit_unit)
    return None


def bytes_on_device(arrays: Any) -> int:
    """What shapes with shardings take on each device."""
    return sum(
        math.prod(array.sharding.shard_shape(array.shape)) * array.dtype.itemsize
        for array in jax.tree.leaves(arrays)
    )


def _abstract_state(config: Config, mesh: Mesh) -> tuple[TrainState, Any]:
    init, shardings = make_init(config, config.data.vocab_size, mesh)
    return state_template(init, shardings), shardings


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * 2 ** (10 * (1 + "KMGT".index(unit))))
