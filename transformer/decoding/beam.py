"""Beam search over a step function; it knows no model.

Section 6.1 of the paper: beam search with the length penalty of Wu et al. (2016, "Google's Neural
Machine Translation System", equation 14), at most ``input length + 50`` tokens, and an early stop.

A step function is ``step(tokens [B W], positions [B], cache) -> (logits [B W V], cache)``. After
each step the beams are permuted, and the cache follows: its leaves have leading dimensions [B W],
or the caller says how it is reordered. Logits are read with the vocabulary first, [V B W], which
costs nothing where they were computed so.

B sentences are searched at a time, and others wait, see `transformer.decoding.slots`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from transformer.decoding.slots import Admit, Cache, Search, choose, run
from transformer.decoding.top_k import top_k

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


class _Slots(NamedTuple):
    """The searches of B sentences; one that has ended changes no more."""

    sentence: Int[Array, "B"]  # int32, its number
    limit: Int[Array, "B"]  # of its length
    position: Int[Array, "B"]  # int32, steps taken
    done: Bool[Array, "B"]
    lost: Bool[Array, "B"]  # given up, and not done
    live: _Paths
    live_log_probs: Float[Array, "B W"]  # best first; -inf: no such beam
    finished: Hypotheses  # the W best so far that end in EOS, best first; L columns


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
    admit: Admit | None = None,
    batch_size: int,
    beam_size: int,
    max_length: int,
    length_limits: Int[Array, "N"],
    bos_id: int,
    eos_id: int,
    alpha: float,
    penalty: Penalty = "gnmt",
    pad_id: int = 0,
    forbidden_ids: Sequence[int] = (),
    prefixes: Int[Array, "N P"] | None = None,
    num_return: int = 1,
    leave: int = 0,
    lost: Callable[[Cache], Bool[Array, "B"]] | None = None,
) -> tuple[Hypotheses, Bool[Array, "N"]]:
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
      cache: a pytree, or None; at first that of sentences 0 to B - 1.
      reorder: ``reorder(cache, parents [B W])`` gives beam w the past of beam `parents[w]`. By
        default it permutes the leaves, whose leading dimensions are then [B W].
      admit: what `transformer.decoding.slots.run` takes; only needed where N exceeds B.
      batch_size: B, the sentences that are searched at a time.
      beam_size: W; may exceed the vocabulary.
      max_length: T.
      length_limits: most tokens of each sentence's output, EOS included; cut to T. Sentences with
        a limit of 0 (rows of padding) come last, and cost no step.
      bos_id: the token before the first.
      eos_id: the token that ends a hypothesis.
      alpha: of the length penalty; at least 0.
      penalty: which one, see `length_penalty`.
      pad_id: fills the returned tokens after EOS.
      forbidden_ids: tokens never generated; they keep their share of the model's probability.
      prefixes: what each output has to begin with, then `pad_id`; no EOS, and shorter than the
        limit. Forced tokens count towards the score as any other.
      num_return: how many hypotheses a sentence are wanted, at most W.
      leave: the search ends when no more sentences than this are left.
      lost: ``lost(cache)`` tells which sentences the cache had no room for: these are given up. By
        default it has room for all.

    Returns:
      The hypotheses, and which sentences are done: those of others are of no use.
    """
    if not 1 <= num_return <= beam_size:
        raise ValueError(f"num_return is {num_return}, not between 1 and {beam_size=}")
    limits = jnp.minimum(length_limits, max_length)
    divide_by = functools.partial(length_penalty, alpha=alpha, kind=penalty)

    def start(sentence: Int[Array, "B"]) -> _Slots:
        limit = limits[sentence]
        return _start(sentence, limit, (beam_size, max_length), bos_id, pad_id)

    def advance(slots: _Slots, cache: Cache) -> tuple[_Slots, Cache]:
        length = slots.position + 1  # [B]
        last = jnp.take_along_axis(slots.live.tokens, slots.position[:, None, None], axis=2)
        logits, cache = step(last[:, :, 0], slots.position, cache)
        logits = jnp.moveaxis(logits.astype(jnp.float32), -1, 0)  # [V B W]
        # log softmax(x) = (x - highest) - log sum exp(x - highest): only the candidates' is
        # worked out, and in this order, which is exact where it is close to 0.
        highest = jnp.max(logits, axis=0)  # [B W]
        log_sum = jnp.log(jnp.sum(jnp.exp(logits - highest), axis=0))
        if prefixes is not None:
            allowed = continues(prefixes[slots.sentence], slots.position, logits.shape[0], pad_id)
            logits = jnp.where(allowed.T[:, :, None], logits, -jnp.inf)
        before = slots.live_log_probs - highest - log_sum
        values, parents, tokens = _candidates(logits, before, forbidden_ids)
        own = logits[tokens, jnp.arange(parents.shape[0])[:, None], parents]  # [B C]
        own = (own - gather(highest, parents)) - gather(log_sum, parents)
        column = jnp.arange(max_length + 1) == length[:, None, None]
        paths = jax.tree.map(
            lambda path, new: jnp.where(column, new[:, :, None], path),
            gather(slots.live, parents),  # [B C L]
            _Paths(tokens, own),
        )
        ended = tokens == eos_id

        finished = _merge(slots.finished, paths, values, ended, length, divide_by(length))
        live_log_probs, chosen = lax.top_k(jnp.where(ended, -jnp.inf, values), beam_size)
        live, parents = gather((paths, parents), chosen)
        if beam_size > 1:
            cache = reorder(cache, parents)

        reachable = live_log_probs[:, 0] / divide_by(slots.limit)
        done = (finished.scores[:, num_return - 1] >= reachable) | (length >= slots.limit)
        given_up = slots.lost if lost is None else lost(cache)
        new = slots._replace(
            position=length,
            done=done & ~given_up,
            lost=given_up,
            live=live,
            live_log_probs=live_log_probs,
            finished=finished,
        )
        return choose(goes_on(slots), new, slots), cache

    def goes_on(slots: _Slots) -> Bool[Array, "B"]:
        return ~slots.done & ~slots.lost

    def result(slots: _Slots) -> tuple[Hypotheses, Bool[Array, "B"]]:
        return _result(slots, divide_by(slots.limit)), slots.done

    return run(
        Search(start, advance, goes_on, result),
        cache,
        admit,
        batch_size=batch_size,
        sentences=limits.shape[0],
        real=jnp.sum(limits > 0),
        leave=leave,
    )


def forbid(logits: Float[Array, "B W V"], ids: Sequence[int]) -> Float[Array, "B W V"]:
    """`logits` with -inf for each of `ids`."""
    forbidden = np.isin(np.arange(logits.shape[-1]), ids)
    return jnp.where(forbidden, -jnp.inf, logits)


def continues(
    prefixes: Int[Array, "B P"], positions: Int[Array, "B"], vocabulary: int, pad_id: int
) -> Bool[Array, "B V"]:
    """Which tokens may stand at the positions: the prefix's alone, where it reaches so far."""
    wanted = jnp.take_along_axis(
        prefixes, positions[:, None], axis=1, mode="fill", fill_value=pad_id
    )
    return (wanted == pad_id) | (jnp.arange(vocabulary) == wanted)


def _start(
    sentence: Int[Array, "B"], limit: Int[Array, "B"], sizes: tuple[int, int], bos: int, pad: int
) -> _Slots:
    """One live beam a sentence: W equal ones would only repeat each other."""
    beams, length = sizes
    batch = sentence.shape[0]
    tokens = jnp.full((batch, beams, length + 1), pad, jnp.int32).at[:, :, 0].set(bos)
    paths = _Paths(tokens, jnp.zeros(tokens.shape, jnp.float32))
    none = jnp.full((batch, beams), -jnp.inf, jnp.float32)
    return _Slots(
        sentence=sentence,
        limit=limit,
        position=jnp.zeros(batch, jnp.int32),
        done=limit <= 0,
        lost=jnp.zeros(batch, bool),
        live=paths,
        live_log_probs=none.at[:, 0].set(0.0),
        finished=Hypotheses(*paths, none, none, jnp.zeros((batch, beams), jnp.int32)),
    )


def _candidates(
    logits: Float[Array, "V B W"], before: Float[Array, "B W"], forbidden: Sequence[int]
) -> tuple[Float[Array, "B C"], Int[Array, "B C"], Int[Array, "B C"]]:
    """The C highest `logits` + `before`, best first, with their parent beams and tokens.

    At most one continuation of a beam is EOS, so that among 2W at least W are not.
    """
    vocabulary, _, beams = logits.shape
    count = min(2, vocabulary) * beams if beams > 1 else 1
    return top_k(logits, before, count, forbidden)


def _merge(
    finished: Hypotheses,
    paths: _Paths,
    log_probs: Float[Array, "B C"],
    ended: Bool[Array, "B C"],
    length: Int[Array, "B"],
    divide_by: Float[Array, "B"],
) -> Hypotheses:
    """The W best of `finished` and of those candidates that have ended, best first."""
    log_probs = jnp.where(ended, log_probs, -jnp.inf)
    scores = log_probs / divide_by[:, None]
    lengths = jnp.broadcast_to(length[:, None], scores.shape)
    new = Hypotheses(*paths, log_probs, scores, lengths)
    both = jax.tree.map(lambda old, new: jnp.concatenate([old, new], axis=1), finished, new)
    _, best = lax.top_k(both.scores, finished.scores.shape[1])
    return gather(both, best)


def _result(slots: _Slots, divide_by: Float[Array, "B"]) -> Hypotheses:
    """Finished hypotheses; unfinished ones for sentences that have no finished one."""
    lengths = jnp.broadcast_to(slots.limit[:, None], slots.live_log_probs.shape)
    scores = slots.live_log_probs / divide_by[:, None]
    unfinished = Hypotheses(*slots.live, slots.live_log_probs, scores, lengths)
    none = jnp.isneginf(slots.finished.scores[:, 0])
    found = choose(none, unfinished, slots.finished)
    return found._replace(
        tokens=found.tokens[:, :, 1:], token_log_probs=found.token_log_probs[:, :, 1:]
    )
