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
from transformer.model.decoding_cache import RECENT
from transformer.sharding import batch_shards, for_each_shard, platform, replicated

# Hypotheses share most of their past: of a trained model's searches hardly any needs more places
# than these, though some take many more steps.
_ROOM = 12  # and one for each source token
_BRANCHES = 5  # for each hypothesis
_LEAVES = 8  # one in eight of those that are decoded at a time
_CPU_ROWS = 64  # hypotheses at a time: keys, values and logits of more fit no core's cache
_QUEUE = 8  # lines in a batch for each that is decoded at a time
_CPU_QUEUE = 12  # the same where these are few


def cache_room(decoding: DecodingConfig, source_length: int, whole: bool) -> int | None:
    """What `empty_cache` takes for beam search; `whole`, or where little is saved: all there is."""
    beams = decoding.beam_size
    room = source_length + _ROOM + _BRANCHES * beams
    all_steps = (source_length + decoding.max_extra_length) * beams
    return None if whole or room + RECENT * beams >= all_steps else room


def slots_for(
    decoding: DecodingConfig, beams: int, source_length: int, whole: bool, mesh: Mesh | None
) -> int:
    """How many sentences have their keys and values in `decoding.batch_tokens` places."""
    room = cache_room(decoding, source_length, whole)
    steps = source_length + decoding.max_extra_length if room is None else RECENT
    fit = decoding.batch_tokens // ((room or 0) + steps * beams)
    return min(fit, batch_shards(mesh) * _CPU_ROWS // beams) if platform(mesh) == "cpu" else fit


def queue_for(mesh: Mesh | None) -> int:
    """How many lines a batch of beam search has for each that is decoded at a time."""
    return _CPU_QUEUE if platform(mesh) == "cpu" else _QUEUE


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
        static_argnames=("slots", "num_return", "leave", "whole"),
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
    leave: bool,
    whole: bool,
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
      leave: gives up the last few sentences.
      whole: has room for all that a sentence can need; otherwise a few are given up.
    """
    model = nnx.merge(graphdef, params)
    segments = (source != PAD).astype(jnp.int32)
    max_length = source.shape[1] + decoding.max_extra_length
    memory = model.encode(source, segments)
    beam = decoding.strategy == "beam"
    if beam:
        rows, width = slots, decoding.beam_size
    else:
        # Samples share no past: as rows of their own they need not look at each other's.
        rows, width = source.shape[0] * num_return, 1
        memory, segments = jax.tree.map(lambda x: jnp.repeat(x, num_return, 0), (memory, segments))
    contexts = model.decoding_context(memory, segments)
    model.prepare_steps(rows * width)

    def step(tokens, positions, state):
        cache, context = state
        positions = jnp.repeat(positions, tokens.shape[1] // width)
        logits, cache = model.decode_step(tokens.reshape(rows, width), positions, cache, context)
        return logits.reshape(*tokens.shape, -1), (cache, context)

    def reorder(state, parents):
        cache, context = state
        return model.reorder(cache, parents), context

    def admit(state, slots, sentences):
        cache, context = state
        context = jax.tree.map(
            lambda own, every: own.at[slots].set(every[sentences], mode="drop"), context, contexts
        )
        return model.forget(cache, slots), context

    room = cache_room(decoding, source.shape[1], whole) if beam else None
    cache = model.empty_cache(rows, width, max_length, room)
    search = functools.partial(
        beam_search if beam else sample,
        step,
        (cache, jax.tree.map(lambda x: x[:rows], contexts)),
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
            leave=rows // _LEAVES if leave else 0,
            lost=lambda state: model.lost(state[0]),
        )
    samples = search(
        keys=jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(decoding.seed), numbers),
        num_samples=num_return,
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        top_p=decoding.top_p,
    )
    return samples, jnp.ones(source.shape[0], bool)
