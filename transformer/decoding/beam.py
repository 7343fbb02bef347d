"""Beam search over a step function; it knows no model.

Section 6.1 of the paper: beam search with the length penalty of Wu et al. (2016, "Google's Neural
Machine Translation System", equation 14), at most ``input length + 50`` tokens, and an early stop.

A step function is ``step(tokens [B W], position, cache) -> (logits [B W V], cache)``. After each
step the beams are permuted, and the cache follows: its leaves have leading dimensions [B W], or
the caller says how it is reordered.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Cache = Any
Step = Callable[[Array, Array, Cache], tuple[Array, Cache]]
Reorder = Callable[[Cache, Array], Cache]
Penalty = Literal["gnmt", "power", "none"]


class Hypotheses(NamedTuple):
    """W outputs a sentence. A slot that holds none has score and log probability -inf."""

    tokens: Int[Array, "B W T"]  # with EOS, then padding
    token_log_probs: Float[Array, "B W T"]  # float32, of each token; 0 at padding
    log_probs: Float[Array, "B W"]  # float32, sum over the tokens, EOS included
    scores: Float[Array, "B W"]  # float32, what the hypotheses are ranked by
    lengths: Int[Array, "B W"]  # int32, tokens with EOS


class _Paths(NamedTuple):
    """L = T + 1 columns: BOS, and the output of step t in column t + 1."""

    tokens: Int[Array, "B W L"]
    token_log_probs: Float[Array, "B W L"]


class _State(NamedTuple):
    position: Int[Array, ""]  # int32, steps taken
    done: Bool[Array, "B"]  # a sentence that is done changes no more
    live: _Paths
    live_log_probs: Float[Array, "B W"]  # best first; -inf: no such beam
    finished: Hypotheses  # the W best so far that end in EOS, best first; L columns
    cache: Cache


def length_penalty(
    length: Int[Array, "..."], alpha: float, kind: Penalty = "gnmt"
) -> Float[Array, "..."]:
    """What log probabilities are divided by; |Y| = `length` counts the end token.

    "gnmt" is the paper's, ((5 + |Y|) / 6)^alpha; "power" is |Y|^alpha, the penalty of fairseq and
    Hugging Face, whose default alpha of 1 makes a mean of it; "none" is 1.
    """
    if kind == "none":
        return jnp.ones(length.shape, jnp.float32)
    length = jnp.maximum(length, 1).astype(jnp.float32)  # a row of padding has length 0
    return ((5.0 + length) / 6.0 if kind == "gnmt" else length) ** alpha


def gather(tree: Any, indices: Int[Array, "B C"]) -> Any:
    """Entries `indices` along axis 1 of every leaf [B W ...]: leaves [B C ...]."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, i: row[i])(leaf, indices), tree)


def beam_search(
    step: Step,
    cache: Cache,
    *,
    reorder: Reorder = gather,
    batch_size: int,
    beam_size: int,
    max_length: int,
    length_limits: Int[Array, "B"],
    bos_id: int,
    eos_id: int,
    alpha: float,
    penalty: Penalty = "gnmt",
    pad_id: int = 0,
    forbidden_ids: Sequence[int] = (),
    prefixes: Int[Array, "B P"] | None = None,
    num_return: int = 1,
    leave: int | None = None,
) -> tuple[Hypotheses, Bool[Array, "B"]]:
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
      cache: a pytree, or None.
      reorder: ``reorder(cache, parents [B W])`` gives beam w the past of beam `parents[w]`. By
        default it permutes the leaves, whose leading dimensions are then [B W].
      batch_size: B.
      beam_size: W; may exceed the vocabulary.
      max_length: T.
      length_limits: most tokens of each sentence's output, EOS included; cut to T. A limit of 0
        (a row of padding) costs no step.
      bos_id: the token before the first.
      eos_id: the token that ends a hypothesis.
      alpha: of the length penalty; at least 0.
      penalty: which one, see `length_penalty`.
      pad_id: fills the returned tokens after EOS.
      forbidden_ids: tokens never generated; they keep their share of the model's probability.
      prefixes: what each output has to begin with, then `pad_id`; no EOS, and shorter than the
        limit. Forced tokens count towards the score as any other.
      num_return: how many hypotheses a sentence are wanted, at most W.
      leave: the search ends when no more sentences than this are left, or after T steps; the
        limits are then not cut to T. By default it ends when all sentences are done.

    Returns:
      The hypotheses, and which sentences are done: those of others are of no use.
    """
    if not 1 <= num_return <= beam_size:
        raise ValueError(f"num_return is {num_return}, not between 1 and {beam_size=}")
    limits = length_limits if leave is not None else jnp.minimum(length_limits, max_length)
    divide_by = functools.partial(length_penalty, alpha=alpha, kind=penalty)

    def advance(state: _State) -> _State:
        length = state.position + 1
        last = lax.dynamic_index_in_dim(state.live.tokens, state.position, axis=2, keepdims=False)
        logits, cache = step(last, state.position, state.cache)
        logits = logits.astype(jnp.float32)  # [B W V]
        # log softmax(x) = (x - highest) - log sum exp(x - highest): only the candidates' is
        # worked out, and in this order, which is exact where it is close to 0.
        highest = jnp.max(logits, axis=-1)  # [B W]
        log_sum = jnp.log(jnp.sum(jnp.exp(logits - highest[..., None]), axis=-1))
        logits = forbid(logits, forbidden_ids)
        if prefixes is not None:
            logits = force(logits, prefixes, state.position, pad_id)
        values, parents, tokens = _candidates(logits, state.live_log_probs - highest - log_sum)
        flat = logits.reshape(batch_size, -1)
        own = jnp.take_along_axis(flat, parents * logits.shape[2] + tokens, axis=1)  # [B C]
        own = (own - gather(highest, parents)) - gather(log_sum, parents)
        paths = jax.tree.map(
            lambda path, new: lax.dynamic_update_index_in_dim(path, new, length, axis=2),
            gather(state.live, parents),  # [B C L]
            _Paths(tokens, own),
        )
        ended = tokens == eos_id

        finished = _merge(state.finished, paths, values, ended, length, divide_by(length))
        live_log_probs, chosen = lax.top_k(jnp.where(ended, -jnp.inf, values), beam_size)
        live, parents = gather((paths, parents), chosen)
        if beam_size > 1:
            cache = reorder(cache, parents)

        finished, live, live_log_probs = jax.tree.map(
            lambda old, new: jnp.where(state.done.reshape(-1, *[1] * (new.ndim - 1)), old, new),
            (state.finished, state.live, state.live_log_probs),
            (finished, live, live_log_probs),
        )
        reachable = live_log_probs[:, 0] / divide_by(limits)
        done = state.done | (finished.scores[:, num_return - 1] >= reachable) | (length >= limits)
        return _State(length, done, live, live_log_probs, finished, cache)

    start = _start(cache, limits, (batch_size, beam_size, max_length), bos_id, pad_id)

    def goes_on(state: _State) -> Bool[Array, ""]:
        left = jnp.sum(~state.done)
        return (left > (leave or 0)) & (state.position < max_length)

    end = lax.while_loop(goes_on, advance, start)
    return _result(end, limits, divide_by(limits)), end.done


def forbid(logits: Float[Array, "B W V"], ids: Sequence[int]) -> Float[Array, "B W V"]:
    """`logits` with -inf for each of `ids`."""
    forbidden = np.isin(np.arange(logits.shape[-1]), ids)
    return jnp.where(forbidden, -jnp.inf, logits)


def force(
    logits: Float[Array, "B W V"],
    prefixes: Int[Array, "B P"],
    position: Int[Array, ""],
    pad_id: int,
) -> Float[Array, "B W V"]:
    """`logits` with -inf for all but the prefix's token, where the prefix reaches `position`."""
    wanted = jnp.take(prefixes, position, axis=1, mode="fill", fill_value=pad_id)[:, None, None]
    allowed = (wanted == pad_id) | (jnp.arange(logits.shape[-1]) == wanted)
    return jnp.where(allowed, logits, -jnp.inf)


def _start(cache: Cache, limits: Array, sizes: tuple[int, int, int], bos: int, pad: int) -> _State:
    """One live beam a sentence: W equal ones would only repeat each other."""
    batch, beams, length = sizes
    tokens = jnp.full((batch, beams, length + 1), pad, jnp.int32).at[:, :, 0].set(bos)
    paths = _Paths(tokens, jnp.zeros(tokens.shape, jnp.float32))
    none = jnp.full((batch, beams), -jnp.inf, jnp.float32)
    return _State(
        position=jnp.zeros((), jnp.int32),
        done=limits <= 0,
        live=paths,
        live_log_probs=none.at[:, 0].set(0.0),
        finished=Hypotheses(*paths, none, none, jnp.zeros((batch, beams), jnp.int32)),
        cache=cache,
    )


def _candidates(
    logits: Float[Array, "B W V"], before: Float[Array, "B W"]
) -> tuple[Float[Array, "B C"], Int[Array, "B C"], Int[Array, "B C"]]:
    """The C highest `logits` + `before`, best first, with their parent beams and tokens.

    At most one continuation of a beam is EOS, so that among 2W at least W are not.
    """
    beams, vocabulary = logits.shape[1:]
    count = min(2, vocabulary) * beams if beams > 1 else 1
    values, flat = top_k(logits, before, count)
    return values, flat // vocabulary, flat % vocabulary


def top_k(
    rows: Float[Array, "B W V"], offsets: Float[Array, "B W"], count: int
) -> tuple[Float[Array, "B C"], Int[Array, "B C"]]:
    """The `count` highest of `rows` + `offsets` over W and V together, and their indices.

    Equals come in the order of their indices, as `jax.lax.top_k` has them. Each entry that belongs
    to the result lies in one of the `count` blocks with the highest maxima, so that the vocabulary
    is passed once for the maxima, and only these blocks are searched.
    """
    batch, beams, vocabulary = rows.shape
    size = _block_size(vocabulary)
    per_row = vocabulary // size
    if count >= beams * per_row:
        values, indices = lax.top_k((rows + offsets[..., None]).reshape(batch, -1), count)
        return values, indices
    blocks = rows.reshape(batch, beams, per_row, size)
    highest = jnp.max(blocks, axis=-1) + offsets[..., None]
    _, chosen = lax.top_k(highest.reshape(batch, -1), count)
    chosen = jnp.sort(chosen, axis=-1)[..., None]  # equals: the lower index first
    found = jnp.take_along_axis(blocks.reshape(batch, -1, size), chosen, axis=1)
    found += jnp.take_along_axis(offsets, chosen[..., 0] // per_row, axis=1)[..., None]
    values, places = lax.top_k(found.reshape(batch, -1), count)
    block = jnp.take_along_axis(chosen[..., 0], places // size, axis=1)
    return values, block * size + places % size


def _block_size(vocabulary: int) -> int:
    """The divisor of `vocabulary` that is nearest to 64, of those up to 256; 1 for a prime."""
    divisors = [size for size in range(1, 257) if vocabulary % size == 0]
    return min(divisors, key=lambda size: abs(size - 64))


def _merge(
    finished: Hypotheses,
    paths: _Paths,
    log_probs: Float[Array, "B C"],
    ended: Bool[Array, "B C"],
    length: Int[Array, ""],
    divide_by: Float[Array, ""],
) -> Hypotheses:
    """The W best of `finished` and of those candidates that have ended, best first."""
    log_probs = jnp.where(ended, log_probs, -jnp.inf)
    scores = log_probs / divide_by
    new = Hypotheses(*paths, log_probs, scores, jnp.full(scores.shape, length))
    both = jax.tree.map(lambda old, new: jnp.concatenate([old, new], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return gather(both, best)


def _result(state: _State, limits: Int[Array, "B"], divide_by: Float[Array, "B"]) -> Hypotheses:
    """Finished hypotheses; unfinished ones for sentences that have no finished one."""
    lengths = jnp.broadcast_to(limits[:, None], state.live_log_probs.shape)
    scores = state.live_log_probs / divide_by[:, None]
    unfinished = Hypotheses(*state.live, state.live_log_probs, scores, lengths)
    none = jnp.isneginf(state.finished.scores[:, 0])
    result = jax.tree.map(
        lambda new, old: jnp.where(none.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        unfinished,
        state.finished,
    )
    return result._replace(
        tokens=result.tokens[:, :, 1:], token_log_probs=result.token_log_probs[:, :, 1:]
    )
