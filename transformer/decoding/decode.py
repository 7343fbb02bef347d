"""From a batch of sources to its outputs: the function that decoding compiles."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from transformer.config import DecodingConfig
from transformer.data.tokenizer import BOS, EOS, PAD
from transformer.decoding.beam import Hypotheses, beam_search
from transformer.decoding.sampling import sample
from transformer.sharding import batch_shards, for_each_shard, replicated

# Of Multi30k's sentences nine in ten are done within twelve steps more than the source is long.
# Every step attends all places there are: fewer of them make each step shorter.
_HURRY_EXTRA = 12
_HURRY_LEAVES = 8  # one in eight of those that are decoded at a time


def room(decoding: DecodingConfig, hurry: bool) -> int:
    """How many tokens longer than the longest source an output may become."""
    extra = decoding.max_extra_length
    return min(extra, _HURRY_EXTRA) if hurry else extra


def jit_decode(
    graphdef: nnx.GraphDef, decoding: DecodingConfig, mesh: Mesh | None = None
) -> Callable[..., tuple[Hypotheses, Bool[Array, "N"]]]:
    """`decode` for one model and one way of decoding; `slots` are those of all devices of `mesh`.

    Each shard of a batch searches its own rows, and every device has all results.
    """

    def decode_shards(params, *arrays, slots: int, **options):
        own = slots // batch_shards(mesh)
        one = functools.partial(decode, graphdef, decoding, slots=own, **options)
        return for_each_shard(one, mesh)(params, *arrays)

    return jax.jit(
        decode_shards,
        static_argnames=("slots", "num_return", "hurry"),
        out_shardings=mesh and replicated(mesh),
    )


def decode(
    graphdef: nnx.GraphDef,
    decoding: DecodingConfig,
    params: Any,
    source: Int[Array, "N S"],
    limits: Int[Array, "N"],
    numbers: Int[Array, "N"],
    prefixes: Int[Array, "N P"] | None,
    *,
    slots: int,
    num_return: int,
    hurry: bool,
) -> tuple[Hypotheses, Bool[Array, "N"]]:
    """Outputs for a batch of sources, and which of them are done.

    Args:
      graphdef: of the model, see `transformer.decoding.translate.Translator`.
      decoding: strategy, beam size and limits.
      params: what `nnx.merge(graphdef, params)` takes.
      source: ids with EOS, then padding.
      limits: most tokens of each output; 0 for rows of padding.
      numbers: tell the sentences apart when sampling.
      prefixes: what each output begins with, then padding.
      slots: how many sentences beam search looks at at a time.
      num_return: outputs wanted a sentence.
      hurry: gives up sentences that take long, and the last few.
    """
    model = nnx.merge(graphdef, params)
    segments = (source != PAD).astype(jnp.int32)
    max_length = source.shape[1] + room(decoding, hurry)
    memory = model.encode(source, segments)
    beam = decoding.strategy == "beam"
    if beam:
        rows, width = slots, decoding.beam_size
    else:
        # Samples share no past: as rows of their own they need not look at each other's.
        rows, width = source.shape[0] * num_return, 1
        memory, segments = jax.tree.map(lambda x: jnp.repeat(x, num_return, 0), (memory, segments))
    contexts = model.decoding_context(memory, segments)

    def step(tokens, positions, state):
        cache, context = state
        positions = jnp.repeat(positions, tokens.shape[1] // width)
        logits, cache = model.decode_step(tokens.reshape(rows, width), positions, cache, context)
        return logits.reshape(*tokens.shape, -1), (cache, context)

    def reorder(state, parents):
        cache, context = state
        return model.reorder(cache, parents), context

    def admit(state, fresh, sentences):
        return model.forget(state[0], fresh), jax.tree.map(lambda x: x[sentences], contexts)

    search = functools.partial(
        beam_search if beam else sample,
        step,
        (model.empty_cache(rows, width, max_length), jax.tree.map(lambda x: x[:rows], contexts)),
        max_length=max_length,
        length_limits=limits,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        forbidden_ids=(PAD, BOS),
        prefixes=prefixes,
    )
    if beam:
        return search(
            reorder=reorder,
            admit=admit,
            batch_size=rows,
            beam_size=width,
            alpha=decoding.alpha,
            penalty=decoding.length_penalty,
            num_return=num_return,
            leave=rows // _HURRY_LEAVES if hurry else None,
        )
    samples = search(
        keys=jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(decoding.seed), numbers),
        num_samples=num_return,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
    )
    return samples, jnp.ones(source.shape[0], bool)
