"""One sentence's beam search with everything that it looked at: slow and plain, to be looked into.

This is the search of `transformer.decoding.beam` once more, in lists, over whole prefixes and
without a cache. It finds the same hypotheses with the same scores (tests hold the two together),
and keeps the continuations that it drops.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from transformer.config import DecodingConfig
from transformer.data.tokenizer import BOS, EOS, PAD, Tokenizer
from transformer.decoding.beam import Penalty, length_penalty
from transformer.decoding.ensemble import mean_log_probs, members_of
from transformer.decoding.forced import position_limit, rounded

_SHORTEST = 32  # few lengths are compiled

# log p(y | prefix, x) of every word y after each of W prefixes, which begin after BOS.
NextLogProbs = Callable[[list[tuple[int, ...]]], Float[np.ndarray, "W V"]]


class Node(NamedTuple):
    """A continuation of a live hypothesis that the search looked at."""

    parent: int  # its number in `BeamTree.nodes`; -1 for the root, which is BOS
    length: int  # tokens since BOS, which is the step at which it was looked at
    token: int
    log_prob: float  # of this token, nats
    total: float  # of all tokens since BOS
    fate: Literal["live", "finished", "dropped"]
    score: float  # of "finished": total over the length penalty; nan for others


class BeamTree(NamedTuple):
    """A finished search. Nodes of a step stand together, those with a higher total first."""

    nodes: list[Node]
    hypotheses: list[int]  # at most W numbers of nodes, best first; they are what is returned
    scores: list[float]  # of the hypotheses
    certain: bool  # it ended because nothing live could overtake; False: at its length limit

    def path(self, number: int) -> list[int]:
        """The numbers of the nodes from the first token to node `number`."""
        found = []
        while self.nodes[number].parent >= 0:
            found.append(number)
            number = self.nodes[number].parent
        return found[::-1]

    def tokens(self, number: int) -> list[int]:
        """The tokens from the first to that of node `number`."""
        return [self.nodes[n].token for n in self.path(number)]


def grow(
    next_log_probs: NextLogProbs,
    *,
    beam_size: int,
    max_length: int,
    bos_id: int,
    eos_id: int,
    alpha: float,
    penalty: Penalty = "gnmt",
    forbidden_ids: Sequence[int] = (),
    num_return: int = 1,
) -> BeamTree:
    """The search of `transformer.decoding.beam.beam_search` for one sentence, as a tree.

    Of all continuations of the live hypotheses the 2W best are looked at (with W = 1 the best
    alone). Those that end in EOS are finished; the W best of the others live on.

    Args:
      next_log_probs: the model.
      beam_size: W.
      max_length: most tokens of a hypothesis, EOS included; at least 1.
      bos_id: the token of the root.
      eos_id: the token that ends a hypothesis.
      alpha: of the length penalty; at least 0.
      penalty: which one, see `length_penalty`.
      forbidden_ids: tokens never generated.
      num_return: the search goes on until so many best hypotheses are certain.
    """

    def divide_by(length: int) -> float:
        return float(length_penalty(jnp.asarray(length), alpha, penalty))

    nodes = [Node(-1, 0, bos_id, 0.0, 0.0, "live", np.nan)]
    prefixes: dict[int, tuple[int, ...]] = {0: ()}  # of the live nodes, best first
    finished: list[int] = []
    certain = False
    looked_at = 2 * beam_size if beam_size > 1 else 1
    for length in range(1, max_length + 1):
        log_probs = np.array(next_log_probs(list(prefixes.values())), np.float64)  # [W V]
        log_probs[:, list(forbidden_ids)] = -np.inf
        totals = log_probs + [[nodes[number].total] for number in prefixes]
        best = np.argsort(-totals, axis=None, kind="stable")[:looked_at]
        live = {}
        for beam, token in zip(*np.unravel_index(best, totals.shape), strict=True):
            total = float(totals[beam, token])
            if total == -np.inf:
                break
            parent, prefix = list(prefixes.items())[beam]
            fate, score = "dropped", np.nan
            if token == eos_id:
                fate, score = "finished", total / divide_by(length)
                finished.append(len(nodes))
            elif len(live) < beam_size:
                fate = "live"
                live[len(nodes)] = (*prefix, int(token))
            own = float(log_probs[beam, token])
            nodes.append(Node(parent, length, int(token), own, total, fate, score))
        prefixes = live
        finished = sorted(finished, key=lambda n: -nodes[n].score)[:beam_size]
        reachable = max((nodes[n].total for n in live), default=-np.inf) / divide_by(max_length)
        certain = len(finished) >= num_return and nodes[finished[num_return - 1]].score >= reachable
        if certain or not live:
            break
    scores = [nodes[n].score for n in finished]
    if not finished:
        finished = list(prefixes)
        scores = [nodes[n].total / divide_by(max_length) for n in finished]
    return BeamTree(nodes, finished, scores, certain)


def explore(
    graphdef: nnx.GraphDef,
    params: Any,
    tokenizer: Tokenizer,
    decoding: DecodingConfig,
    line: str,
    num_return: int = 1,
) -> BeamTree:
    """The search that translates `line`, as a tree.

    Args:
      graphdef: of a `Transformer`, or of an `Ensemble` of them.
      params: what `nnx.merge(graphdef, params)` takes.
      tokenizer: of both languages.
      decoding: beam size, length penalty and limit.
      line: a sentence of the source language.
      num_return: see `grow`.
    """
    source = [*tokenizer.encode([line])[0], EOS]
    limit = len(source) + decoding.max_extra_length
    most = position_limit(nnx.merge(graphdef, params))
    padded = _pad([source], 1, len(source), most)

    def next_log_probs(prefixes: list[tuple[int, ...]]) -> Float[np.ndarray, "W V"]:
        inputs = _pad([(BOS, *prefix) for prefix in prefixes], decoding.beam_size, limit, most)
        last = len(prefixes[0])
        found = _next_log_probs(graphdef, params, padded, inputs, last)
        return np.asarray(found)[: len(prefixes)]

    return grow(
        next_log_probs,
        beam_size=decoding.beam_size,
        max_length=limit,
        bos_id=BOS,
        eos_id=EOS,
        alpha=decoding.alpha,
        penalty=decoding.length_penalty,
        forbidden_ids=(PAD, BOS),
        num_return=num_return,
    )


def _pad(
    rows: list[Sequence[int]], count: int, length: int, most: int | None
) -> Int[np.ndarray, "count L"]:
    """`count` rows, their length rounded up to `_SHORTEST`, its double, and so on, up to `most`."""
    shortest = _SHORTEST if most is None else min(_SHORTEST, most)
    width = rounded(max(shortest, length), most)
    array = np.full((count, width), PAD, np.int32)
    for row, ids in enumerate(rows):
        array[row, : len(ids)] = ids
    return array


@partial(jax.jit, static_argnums=0)
def _next_log_probs(
    graphdef: nnx.GraphDef,
    params: Any,
    source: Int[Array, "1 S"],
    prefixes: Int[Array, "W T"],
    last: Int[Array, ""],
) -> Float[Array, "W V"]:
    """log p of the token after column `last` of the prefixes; no column sees those behind it."""
    model = nnx.merge(graphdef, params)
    source = jnp.repeat(source, prefixes.shape[0], axis=0)
    segments = [(ids != PAD).astype(jnp.int32) for ids in (source, prefixes)]
    members = members_of(model)
    hidden = [member(source, segments[0], prefixes, segments[1])[:, last] for member in members]
    return mean_log_probs([m.logits(h) for m, h in zip(members, hidden, strict=True)])
