"""Sampling from a model's distribution: temperature, top-k, top-p. Greedy search is beam 1.

It takes the same step function and cache as `transformer.decoding.beam`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from transformer.decoding.beam import Cache, Hypotheses, Step, continues, forbid


class _State(NamedTuple):
    """`tokens` has L = T + 1 columns: BOS, and the output of step t in column t + 1."""

    position: Int[Array, ""]  # int32, steps taken
    done: Bool[Array, "B W"]
    tokens: Int[Array, "B W L"]
    token_log_probs: Float[Array, "B W L"]
    lengths: Int[Array, "B W"]
    cache: Cache


def sample(
    step: Step,
    cache: Cache,
    *,
    keys: Key[Array, "B"],
    num_samples: int,
    max_length: int,
    length_limits: Int[Array, "B"],
    bos_id: int,
    eos_id: int,
    pad_id: int = 0,
    forbidden_ids: Sequence[int] = (),
    prefixes: Int[Array, "B P"] | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Hypotheses:
    """W = `num_samples` independent outputs a sentence, in the order drawn.

    A token is drawn from the logits over `temperature`, cut to the `top_k` best tokens (Fan et al.
    2018), then to the fewest best tokens that together hold a share of at least `top_p` of what is
    left (the nucleus; Holtzman et al. 2020). Among equals the lower token id counts as better.

    Sample w of a sentence at step t depends on the sentence's own key, w and t, and so neither on
    the other sentences nor on the shape of the batch.

    Args:
      step: as of `beam_search`; first called with BOS everywhere and position 0.
      cache: a pytree, or None.
      keys: one a sentence.
      num_samples: W.
      max_length: T.
      length_limits: most tokens of each sentence's output, EOS included; cut to T.
      bos_id: the token before the first.
      eos_id: the token that ends a sample.
      pad_id: fills the returned tokens after EOS.
      forbidden_ids: tokens never generated.
      prefixes: what each output has to begin with, as of `beam_search`.
      temperature: divides the logits; greater than 0.
      top_k: tokens kept; 0 keeps all.
      top_p: share kept; 1 keeps all.

    Returns:
      `log_probs` are the model's own, neither tempered nor cut; `scores` are the same, without a
      length penalty. A sample that was stopped by its limit has no EOS.
    """
    limits = jnp.minimum(length_limits, max_length)[:, None]  # [B 1]
    sample_keys = jax.vmap(lambda key: _fold(key, jnp.arange(num_samples)))(keys)  # [B W]

    def advance(state: _State) -> _State:
        last = lax.dynamic_index_in_dim(state.tokens, state.position, axis=2, keepdims=False)
        positions = jnp.broadcast_to(state.position, keys.shape)
        logits, cache = step(last, positions, state.cache)
        logits = logits.astype(jnp.float32)
        allowed = forbid(logits, forbidden_ids)
        if prefixes is not None:
            may_follow = continues(prefixes, positions, logits.shape[-1], pad_id)
            allowed = jnp.where(may_follow[:, None], allowed, -jnp.inf)
        ranked, ids = truncate(allowed / temperature, top_k, top_p)
        step_keys = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))
        draw = jax.vmap(jax.vmap(jax.random.categorical))
        rank = draw(step_keys(sample_keys, state.position), ranked)[:, :, None]
        token = jnp.take_along_axis(ids, rank, axis=2)  # [B W 1]
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), token, axis=2)

        token = jnp.where(state.done[:, :, None], pad_id, token)
        log_prob = jnp.where(state.done[:, :, None], 0.0, log_prob)
        length = state.position + 1
        return _State(
            position=length,
            done=state.done | (token[:, :, 0] == eos_id) | (length >= limits),
            tokens=lax.dynamic_update_slice_in_dim(state.tokens, token, length, axis=2),
            token_log_probs=lax.dynamic_update_slice_in_dim(
                state.token_log_probs, log_prob, length, axis=2
            ),
            lengths=jnp.where(state.done, state.lengths, length),
            cache=cache,
        )

    shape = (keys.shape[0], num_samples)
    start = _State(
        position=jnp.zeros((), jnp.int32),
        done=jnp.broadcast_to(limits <= 0, shape),
        tokens=jnp.full((*shape, max_length + 1), pad_id, jnp.int32).at[:, :, 0].set(bos_id),
        token_log_probs=jnp.zeros((*shape, max_length + 1), jnp.float32),
        lengths=jnp.zeros(shape, jnp.int32),
        cache=cache,
    )
    end = lax.while_loop(lambda state: ~state.done.all(), advance, start)
    log_probs = jnp.sum(end.token_log_probs, axis=2)
    return Hypotheses(
        end.tokens[:, :, 1:], end.token_log_probs[:, :, 1:], log_probs, log_probs, end.lengths
    )


def truncate(
    logits: Float[Array, "B W V"], top_k: int, top_p: float
) -> tuple[Float[Array, "B W K"], Int[Array, "B W K"]]:
    """The logits of the tokens that may be drawn, best first and -inf past top-p, and their ids."""
    vocabulary = logits.shape[-1]
    if top_k == 0 and top_p == 1.0:  # nothing to rank: spares a sort of the vocabulary
        return logits, jnp.broadcast_to(jnp.arange(vocabulary), logits.shape)
    ranked, ids = lax.top_k(logits, min(top_k, vocabulary) or vocabulary)
    probs = jax.nn.softmax(ranked, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs  # held by better tokens; 0 for the best one
    return jnp.where(before < top_p, ranked, -jnp.inf), ids


def _fold(key: Key[Array, ""], numbers: Int[Array, "N"]) -> Key[Array, "N"]:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
