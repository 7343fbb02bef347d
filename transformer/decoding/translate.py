"""Text in, text out, in the order it came.

Sentences are sorted by length and decoded in batches of a few fixed shapes, each compiled once.
What a sentence becomes depends on that sentence alone, whatever it shares a batch with (but for
the last bit of a matrix product, which may depend on the shape of the batch).
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Bool

from transformer import sharding
from transformer.config import DecodingConfig
from transformer.data.tokenizer import EOS, Tokenizer
from transformer.decoding.beam import Hypotheses
from transformer.decoding.decode import jit_decode, queue_for, slots_for
from transformer.decoding.line_batches import LineBatch, cut_lines
from transformer.errors import UserError

_FEW = 48  # fewer lines than this are decoded sooner than a shape of their own is compiled


@dataclasses.dataclass(frozen=True)
class Translation:
    """The outputs for one line, best first (samples: in the order drawn); at least one."""

    texts: list[str]
    ids: list[list[int]]  # with EOS, unless the length limit came first
    scores: list[float]  # log probability over length penalty; of samples, log probability
    log_probs: list[float]
    token_log_probs: list[list[float]]  # of each id, with the same nesting as `ids`

    @property
    def text(self) -> str:
        """The first output."""
        return self.texts[0]


class Translator:
    """Decodes with a model's structure; the parameters come with each call.

    So the training loop validates with its current parameters through one `Translator`, and
    nothing is compiled twice.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        decoding: DecodingConfig,
        max_length: int,
        mesh: Mesh | None = None,
    ):
        """Compiles nothing yet.

        Args:
          graphdef: of a model with `encode`, `decoding_context`, `empty_cache`, `prepare_steps`,
            `decode_step`, `reorder`, `forget` and `lost`, as `Ensemble` and
            `transformer.model.encoder_decoder.Transformer` have them.
          tokenizer: of both languages.
          decoding: strategy, beam size and limits.
          max_length: most source tokens, EOS included; longer lines are cut.
          mesh: divides the rows of a batch among its devices; where these belong to several hosts,
            every host translates the same lines and has all the results.
        """
        self.tokenizer = tokenizer
        self.decoding = decoding
        self.max_length = max_length
        self.mesh = mesh
        self._shards = sharding.batch_shards(mesh)
        self._decode = jit_decode(graphdef, decoding, mesh)

    def translate(
        self,
        params: Any,
        lines: Sequence[str],
        nbest: int = 1,
        prefixes: Sequence[str] | None = None,
        warn: Callable[[str], None] = warnings.warn,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Translation]:
        """One `Translation` a line, in the order of `lines`; blank lines stay blank.

        Args:
          params: what `nnx.merge(graphdef, params)` takes.
          lines: text, one sentence each.
          nbest: outputs wanted a line. Beam search may find fewer that end within the limit.
          prefixes: the words that each line's outputs must begin with; may be blank.
          warn: told once, in one sentence, about lines longer than `max_length` tokens.
          progress: called after every batch with the number of lines done so far.

        Raises:
          UserError: `nbest` is not between 1 and the beam size (samples: is less than 1); there
            are not as many prefixes as lines, or one has no room within its line's limit.
        """
        self._check(nbest)
        sources = self.encode(lines, warn)
        begun = None if prefixes is None else self._prefixes(prefixes, sources)
        translations = [Translation([""], [[]], [0.0], [0.0], [[]]) for _ in lines]
        order = sorted(
            (line for line, source in enumerate(sources) if source),
            key=lambda line: len(sources[line]),
            reverse=True,
        )
        left = len(order)
        progress(len(lines) - left)

        def finish(batches: Iterable[LineBatch], **options) -> list[int]:
            """Returns the lines that are left for later, in their order."""
            nonlocal left
            late: list[int] = []
            for batch in batches:
                found, done = self._search(params, batch, nbest, **options)
                rows = np.flatnonzero(done[: batch.count]).tolist()
                for row, translation in zip(rows, self._read(found, rows, nbest), strict=True):
                    translations[batch.numbers[row]] = translation
                late += np.delete(batch.lines, rows).tolist()
                left -= len(rows)
                progress(len(lines) - left)
            return late

        self._in_passes(order, sources, begun, nbest, finish)
        return translations

    def _in_passes(
        self,
        order: Sequence[int],
        sources: Sequence[Sequence[int]],
        prefixes: Sequence[Sequence[int]] | None,
        nbest: int,
        finish: Callable[..., list[int]],
    ) -> None:
        """Calls ``finish(batches, **options of _search)`` until it leaves no line for later."""

        def batches(**options) -> Iterator[LineBatch]:
            return self._batches(order, sources, prefixes, nbest, **options)

        beam = self.decoding.strategy == "beam"
        all_lines = len(order)
        if beam and all_lines >= _FEW:
            # A few sentences take several times as many steps as others of their length. They begin
            # once more in batches of their own, all of one shape, with those of rare lengths.
            usual, rare = [], []
            for batch in batches():
                (usual if batch.count >= _FEW else rare).append(batch)
            late = finish(usual, leave=True) + [line for batch in rare for line in batch.lines]
            order = sorted(late, key=lambda line: len(sources[line]), reverse=True)
        # A model that has learnt little needs more room for most sentences.
        if beam and (all_lines < _FEW or len(order) < all_lines // 2):
            order = finish(batches(one_shape=True))
        finish(batches(one_shape=beam, whole=True), whole=True)

    def encode(
        self, lines: Sequence[str], warn: Callable[[str], None] = lambda sentence: None
    ) -> list[list[int]]:
        """Source ids with EOS, of at most `max_length`; none at all for a blank line.

        `warn` is told what `translate` tells its own.
        """
        pieces = self.tokenizer.encode(lines)
        room = self.max_length - 1
        if cut := [number for number, p in enumerate(pieces, start=1) if len(p) > room]:
            warn(_warning(cut, self.max_length))
        return [[*p[:room], EOS] if p else [] for p in pieces]

    def _check(self, nbest: int) -> None:
        size = self.decoding.beam_size
        if nbest < 1:
            raise UserError(f"nbest must be at least 1, not {nbest}.")
        if self.decoding.strategy == "beam" and nbest > size:
            raise UserError(
                f"nbest is {nbest}, but decoding.beam_size only {size}; raise the second or lower "
                "the first."
            )

    def _prefixes(
        self, prefixes: Sequence[str], sources: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        if len(prefixes) != len(sources):
            raise UserError(f"There are {len(prefixes)} prefixes for {len(sources)} lines.")
        pieces = self.tokenizer.encode_target(prefixes)
        for number, (prefix, source) in enumerate(zip(pieces, sources, strict=True), start=1):
            room = len(source) + self.decoding.max_extra_length
            if source and len(prefix) >= room:
                raise UserError(
                    f"The prefix of line {number} has {len(prefix)} tokens, but the output at most "
                    f"{room}; shorten it, or raise decoding.max_extra_length."
                )
        return pieces

    def _batches(
        self,
        order: Sequence[int],
        sources: Sequence[Sequence[int]],
        prefixes: Sequence[Sequence[int]] | None,
        nbest: int,
        one_shape: bool = False,
        whole: bool = False,
    ) -> Iterator[LineBatch]:
        """See `cut_lines`."""
        decoding, beam = self.decoding, self.decoding.strategy == "beam"
        beams = decoding.beam_size if beam else nbest
        return cut_lines(
            order,
            sources,
            prefixes,
            max_length=self.max_length,
            max_extra_length=decoding.max_extra_length,
            slots_for=lambda length: slots_for(decoding, beams, length, whole, self.mesh),
            queue=queue_for(self.mesh) if beam else 1,
            row_multiple=self._shards,
            one_shape=one_shape,
        )

    def _search(
        self, params: Any, batch: LineBatch, nbest: int, leave: bool = False, whole: bool = False
    ) -> tuple[Hypotheses, Bool[np.ndarray, "N"]]:
        """What `decode` gives for the rows of `batch`, on the host."""
        options = {"slots": batch.slots, "num_return": nbest, "leave": leave, "whole": whole}
        with sharding.use(self.mesh):
            arrays = sharding.deal(self.mesh, batch[2:])
            return sharding.collect(self.mesh, self._decode(params, *arrays, **options))

    def _read(self, found: Hypotheses, rows: Iterable[int], nbest: int) -> list[Translation]:
        """The first `nbest` hypotheses of `rows`, as text."""
        kept = [[n for n in range(nbest) if n == 0 or row[n] > -np.inf] for row in found.scores]
        translations = []
        for row in rows:
            ids = [found.tokens[row, n, : found.lengths[row, n]].tolist() for n in kept[row]]
            translations.append(
                Translation(
                    texts=self.tokenizer.decode(ids),
                    ids=ids,
                    scores=found.scores[row, kept[row]].tolist(),
                    log_probs=found.log_probs[row, kept[row]].tolist(),
                    token_log_probs=[
                        found.token_log_probs[row, n, : found.lengths[row, n]].tolist()
                        for n in kept[row]
                    ],
                )
            )
        return translations


def _warning(cut: Sequence[int], max_length: int) -> str:
    """One sentence that names the first few of the line numbers `cut`."""
    if len(cut) == 1:
        return f"Line {cut[0]} is longer than {max_length} tokens; its end was cut off."
    named = ", ".join(str(number) for number in cut[:5]) + (", ..." if len(cut) > 5 else "")
    return (
        f"{len(cut)} lines (numbers {named}) are longer than {max_length} tokens; their ends were "
        "cut off."
    )
