"""Forced scoring: what a model thinks of translations that it is given."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from transformer import sharding
from transformer.data.tokenizer import BOS, EOS, PAD, Tokenizer
from transformer.decoding.ensemble import mean_log_probs, members_of
from transformer.errors import UserError

_SHORTEST = 8


class ForcedScorer:
    """Log probabilities of given translations, token by token (teacher forcing).

    Their sum is minus the negative log-likelihood that training reports for the same pairs.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        batch_tokens: int,
        mesh: Mesh | None = None,
    ):
        """Compiles nothing yet.

        Args:
          graphdef: of a `Transformer`, or of an `Ensemble` of them.
          tokenizer: of both languages.
          batch_tokens: most cells of either side of a batch, unless one pair a device alone has
            more.
          mesh: divides the rows of a batch among its devices.
        """
        self._graphdef, self._tokenizer = graphdef, tokenizer
        self._batch_tokens, self._mesh = batch_tokens, mesh
        self._shards = sharding.batch_shards(mesh)
        self._score = jax.jit(
            sharding.for_each_shard(
                lambda params, *arrays: _score(nnx.merge(graphdef, params), *arrays), mesh
            ),
            out_shardings=mesh and sharding.replicated(mesh),
        )

    def score(
        self, params, sources: Sequence[str], targets: Sequence[str]
    ) -> list[tuple[list[int], Float[np.ndarray, "T"]]]:
        """For each pair the ids of the target, EOS included, and their log probabilities in nats.

        Nothing is cut off, however long; a blank target is EOS alone.

        Raises:
          UserError: a sentence has more tokens than the model has positions.
        """
        encoded = [
            [[*ids, EOS] for ids in side]
            for side in (self._tokenizer.encode(sources), self._tokenizer.encode_target(targets))
        ]
        most = position_limit(nnx.merge(self._graphdef, params))
        lengths = [tuple(map(len, pair)) for pair in zip(*encoded, strict=True)]
        check_lengths(lengths, most)
        lengths = [tuple(rounded(length, most) for length in pair) for pair in lengths]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        results: list = [None] * len(order)
        while order:
            shape = lengths[order[0]]
            rows = max(1, self._batch_tokens // max(shape))
            rows += -rows % self._shards
            chosen = [line for line in order[:rows] if lengths[line] == shape]
            order = order[len(chosen) :]
            arrays = []
            for side, length in zip(encoded, shape, strict=True):
                ids = np.full((rows, length), PAD, np.int32)
                for row, line in enumerate(chosen):
                    ids[row, : len(side[line])] = side[line]
                arrays.append(ids)
            with sharding.use(self._mesh):
                arrays = sharding.deal(self._mesh, arrays)
                found = sharding.collect(self._mesh, self._score(params, *arrays))
            for row, line in enumerate(chosen):
                ids = encoded[1][line]
                results[line] = ids, found[row, : len(ids)]
        return results


def rounded(length: int, most: int | None = None) -> int:
    """The next of 8, 16, 32, ..., up to `most`: of each such length a program is compiled once."""
    power = max(_SHORTEST, 1 << (length - 1).bit_length())
    return power if most is None else max(length, min(power, most))


def position_limit(model: nnx.Module) -> int | None:
    """How many positions a model has, or the least that a member of an ensemble has; None: all."""
    limits = [member.source_positions.limit for member in members_of(model)]
    return min((limit for limit in limits if limit is not None), default=None)


def check_lengths(lengths: Sequence[tuple[int, int]], most: int | None) -> None:
    """Refuses pairs of sentences, given by their numbers of tokens, of more than `most` a side.

    Raises:
      UserError: the first such line is named.
    """
    for line, pair in enumerate(lengths, 1):
        for side, length in zip(("source", "target"), pair, strict=True):
            if most is not None and length > most:
                raise UserError(
                    f"Line {line} of the {side} has {length} tokens with its end token, but there "
                    f"are only {most} learned positions (config.model.max_positions); shorten it."
                )


def _score(
    model: nnx.Module, source: Int[Array, "B S"], target: Int[Array, "B T"]
) -> Float[Array, "B T"]:
    """log p(y_t | y_<t, x) of every target token; what stands in padding means nothing."""
    members = members_of(model)
    inputs = teacher_forced(source, target)
    return token_log_probs(members, [member(*inputs) for member in members], target)


def teacher_forced(
    source: Int[Array | np.ndarray, "B S"], target: Int[Array | np.ndarray, "B T"]
) -> tuple[Int[Array | np.ndarray, "B S"], Int[Array, "B S"], Int[Array, "B T"], Int[Array, "B T"]]:
    """What `Transformer` takes to predict `target` from `source`: ids and segments of both sides.

    The decoder reads BOS and all but the last token.
    """
    target_in = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    segments = [(ids != PAD).astype(jnp.int32) for ids in (source, target)]
    return source, segments[0], target_in, segments[1]


def token_log_probs(
    members: Sequence[nnx.Module],
    hidden: Sequence[Float[Array, "B T D"]],
    target: Int[Array | np.ndarray, "B T"],
) -> Float[Array, "B T"]:
    """log p(y_t | y_<t, x) of `target` from the decoders' outputs, by the members' mean; nats."""

    def row(inputs) -> Float[Array, "T"]:
        hidden, target = inputs  # one sentence at a time: all logits at once would be many
        log_probs = mean_log_probs([m.logits(h) for m, h in zip(members, hidden, strict=True)])
        return jnp.take_along_axis(log_probs, target[:, None], axis=1)[:, 0]

    return jax.lax.map(row, (hidden, target))
