"""Beam search over a step function; it knows no model.

Section 6.1 of the paper: beam search with the length penalty of Wu et al. (2016, "Google's Neural
Machine Translation System", equation 14), at most ``input length + 50`` tokens, and an early stop.

A step function is ``step(tokens [B W], position, cache) -> (logits [B W V], cache)``. Every leaf of
the cache has leading dimensions [B W]: after each step the beams are permuted, and the cache
follows.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Cache = Any
Step = Callable[[Array, Array, Cache], tuple[Array, Cache]]


class Hypotheses(NamedTuple):
    """W outputs a sentence. A slot that holds none has score and log probability -inf."""

    tokens: Int[Array, "B W T"]  # with EOS, then padding
    log_probs: Float[Array, "B W"]  # float32, sum over the tokens, EOS included
    scores: Float[Array, "B W"]  # float32, what the hypotheses are ranked by
    lengths: Int[Array, "B W"]  # int32, tokens with EOS


class _State(NamedTuple):
    """Token arrays have L = T + 1 columns: BOS, and the output of step t in column t + 1."""

    position: Int[Array, ""]  # int32, steps taken
    done: Bool[Array, "B"]  # a sentence that is done changes no more
    live_tokens: Int[Array, "B W L"]
    live_log_probs: Float[Array, "B W"]  # best first; -inf: no such beam
    finished: Hypotheses  # the W best so far that end in EOS, best first
    cache: Cache


def length_penalty(length: Int[Array, "..."], alpha: float) -> Float[Array, "..."]:
    """((5 + |Y|) / 6)^alpha, where |Y| counts the end token."""
    return ((5.0 + length.astype(jnp.float32)) / 6.0) ** alpha


def beam_search(
    step: Step,
    cache: Cache,
    *,
    batch_size: int,
    beam_size: int,
    max_length: int,
    length_limits: Int[Array, "B"],
    bos_id: int,
    eos_id: int,
    alpha: float,
    pad_id: int = 0,
    forbidden_ids: Sequence[int] = (),
    num_return: int = 1,
) -> Hypotheses:
    """The best outputs by log probability divided by `length_penalty`, best first.

    The 2W best continuations are looked at in every step; those that end in EOS compete for the W
    places of finished hypotheses, the W best of the others live on. With W = 1 only the one best
    continuation is looked at, which is greedy search, whatever alpha is.

    A sentence is done at its length limit, or as soon as no live hypothesis could still overtake
    the `num_return`-th best finished one: log probabilities only fall, so the best that a live one
    can reach is its present log probability over the largest penalty, that of the length limit.
    The first `num_return` hypotheses are therefore those of a search that runs to the limit.
    Hypotheses that reach the limit without EOS are returned only where nothing finished.
    Equal scores: the lower beam, then the lower token id, then the earlier end wins.

    Args:
      step: see the module's docstring; first called with BOS in every beam and position 0.
      cache: a pytree whose leaves have leading dimensions [B W], or None.
      batch_size: B.
      beam_size: W; may exceed the vocabulary.
      max_length: T.
      length_limits: most tokens of each sentence's output, EOS included; cut to T. A limit of 0
        (a row of padding) costs no step.
      bos_id: the token before the first.
      eos_id: the token that ends a hypothesis.
      alpha: of the length penalty; at least 0.
      pad_id: fills the returned tokens after EOS.
      forbidden_ids: tokens never generated; they keep their share of the model's probability.
      num_return: how many hypotheses a sentence are wanted, at most W.
    """
    if not 1 <= num_return <= beam_size:
        raise ValueError(f"num_return is {num_return}, not between 1 and {beam_size=}")
    limits = jnp.minimum(length_limits, max_length)
    largest_penalty = length_penalty(limits, alpha)

    def advance(state: _State) -> _State:
        last = lax.dynamic_index_in_dim(state.live_tokens, state.position, axis=2, keepdims=False)
        logits, cache = step(last, state.position, state.cache)
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)  # [B W V]
        log_probs = forbid(log_probs, forbidden_ids) + state.live_log_probs[:, :, None]
        values, parents, tokens = _candidates(log_probs)
        sequences = _gather(state.live_tokens, parents)  # [B C L]
        sequences = lax.dynamic_update_index_in_dim(sequences, tokens, state.position + 1, axis=2)
        ended = tokens == eos_id

        finished = _merge(state.finished, sequences, values, ended, state.position + 1, alpha)
        live_log_probs, chosen = lax.top_k(jnp.where(ended, -jnp.inf, values), beam_size)
        live_tokens, parents = _gather((sequences, parents), chosen)
        if beam_size > 1:
            cache = _gather(cache, parents)

        finished, live_tokens, live_log_probs = jax.tree.map(
            lambda old, new: jnp.where(state.done.reshape(-1, *[1] * (new.ndim - 1)), old, new),
            (state.finished, state.live_tokens, state.live_log_probs),
            (finished, live_tokens, live_log_probs),
        )
        beaten = finished.scores[:, num_return - 1] >= live_log_probs[:, 0] / largest_penalty
        done = state.done | beaten | (state.position + 1 >= limits)
        return _State(state.position + 1, done, live_tokens, live_log_probs, finished, cache)

    start = _start(cache, limits, (batch_size, beam_size, max_length), bos_id, pad_id)
    end = lax.while_loop(lambda state: ~state.done.all(), advance, start)
    return _result(end, limits, alpha)


def forbid(log_probs: Float[Array, "B W V"], ids: Sequence[int]) -> Float[Array, "B W V"]:
    """`log_probs` with -inf for each of `ids`."""
    forbidden = np.isin(np.arange(log_probs.shape[-1]), ids)
    return jnp.where(forbidden, -jnp.inf, log_probs)


def _start(cache: Cache, limits: Array, sizes: tuple[int, int, int], bos: int, pad: int) -> _State:
    """One live beam a sentence: W equal ones would only repeat each other."""
    batch, beams, length = sizes
    tokens = jnp.full((batch, beams, length + 1), pad, jnp.int32).at[:, :, 0].set(bos)
    none = jnp.full((batch, beams), -jnp.inf, jnp.float32)
    return _State(
        position=jnp.zeros((), jnp.int32),
        done=limits <= 0,
        live_tokens=tokens,
        live_log_probs=none.at[:, 0].set(0.0),
        finished=Hypotheses(tokens, none, none, jnp.zeros((batch, beams), jnp.int32)),
        cache=cache,
    )


def _candidates(
    log_probs: Float[Array, "B W V"],
) -> tuple[Float[Array, "B C"], Int[Array, "B C"], Int[Array, "B C"]]:
    """Log probabilities, parent beams and tokens of the C best continuations, best first.

    At most one continuation of a beam is EOS, so that among 2W at least W are not.
    """
    batch, beams, vocabulary = log_probs.shape
    count = min(2, vocabulary) * beams if beams > 1 else 1
    values, flat = lax.top_k(log_probs.reshape(batch, beams * vocabulary), count)
    return values, flat // vocabulary, flat % vocabulary


def _gather(tree: Any, indices: Int[Array, "B C"]) -> Any:
    """Entries `indices` along axis 1 of every leaf [B W ...]: leaves [B C ...]."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, i: row[i])(leaf, indices), tree)


def _merge(
    finished: Hypotheses,
    sequences: Int[Array, "B C L"],
    log_probs: Float[Array, "B C"],
    ended: Bool[Array, "B C"],
    length: Int[Array, ""],
    alpha: float,
) -> Hypotheses:
    """The W best of `finished` and of those candidates that have ended, best first."""
    log_probs = jnp.where(ended, log_probs, -jnp.inf)
    scores = log_probs / length_penalty(length, alpha)
    new = Hypotheses(sequences, log_probs, scores, jnp.full(scores.shape, length))
    both = jax.tree.map(lambda old, new: jnp.concatenate([old, new], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return _gather(both, best)


def _result(state: _State, limits: Int[Array, "B"], alpha: float) -> Hypotheses:
    """Finished hypotheses; unfinished ones for sentences that have no finished one."""
    lengths = jnp.broadcast_to(limits[:, None], state.live_log_probs.shape)
    scores = state.live_log_probs / length_penalty(lengths, alpha)
    unfinished = Hypotheses(state.live_tokens, state.live_log_probs, scores, lengths)
    none = jnp.isneginf(state.finished.scores[:, 0])
    result = jax.tree.map(
        lambda new, old: jnp.where(none.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        unfinished,
        state.finished,
    )
    return result._replace(tokens=result.tokens[:, :, 1:])
