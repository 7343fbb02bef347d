"""Trained runs as something that translates: their folders alone are enough."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx
from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.tokenizer import EOS, Tokenizer
from transformer.decoding.ensemble import Ensemble
from transformer.decoding.forced import ForcedScorer, check_lengths, position_limit
from transformer.decoding.inspection import Inspection, inspect
from transformer.decoding.translate import Translation, Translator
from transformer.errors import UserError
from transformer.model.encoder_decoder import Transformer, logical_axes, split
from transformer.sharding import mesh_that_fits, shape_template, tree_shardings
from transformer.training import workdir as workdir_lib
from transformer.training.checkpoint import averaged_steps, read_weights
from transformer.training.step import abstract_model


class Weights(NamedTuple):
    """Which of a run's checkpoints to take."""

    average: int | None = None  # the mean of so many; None: `average_last` of the config, or 1
    best: bool = False  # by validation BLEU, among those kept for it, instead of the last
    step: int | None = None  # this one instead of the last
    ema: bool | None = None  # the moving average of the weights; None: where the run has one


class TrainedModel(NamedTuple):
    """One run, or an ensemble of several: weights, and what turns text into text with them."""

    config: Config  # of the first run
    tokenizer: Tokenizer
    graphdef: nnx.GraphDef
    translator: Translator
    params: dict
    steps: list[list[int]]  # for each run, of the checkpoints whose mean its weights are

    def translate(self, lines: Sequence[str], **options) -> list[Translation]:
        """One translation a line; see `Translator.translate`."""
        return self.translator.translate(self.params, lines, **options)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[tuple]:
        """Log probabilities of given translations; see `ForcedScorer.score`."""
        scorer = ForcedScorer(
            self.graphdef, self.tokenizer, self.config.data.batch_tokens, self.translator.mesh
        )
        return scorer.score(self.params, sources, targets)

    def inspect(
        self, sources: Sequence[str], targets: Sequence[str | Translation] | None = None
    ) -> list[Inspection]:
        """Attention weights, hidden states and log probabilities of each pair of sentences.

        Without `targets` the sources are translated. Of translations the first output is looked
        into, token for token as it was found: without "</s>" where the length limit came first, and
        with no token for a blank line. Of texts nothing is cut off.

        Raises:
          UserError: this is an ensemble, there are not as many targets as sources, or one of
            either has more tokens than the model has positions.
        """
        if len(self.steps) > 1:
            raise UserError("Only one model can be looked into; name a single --workdir.")
        targets = self.translate(sources) if targets is None else targets
        if len(targets) != len(sources):
            raise UserError(f"There are {len(targets)} targets for {len(sources)} sources.")
        pairs = [self._ids(*pair) for pair in zip(sources, targets, strict=True)]
        most = position_limit(nnx.merge(self.graphdef, self.params))
        check_lengths([(len(source), len(target)) for source, target in pairs], most)
        parts, mesh = (self.graphdef, self.params, self.tokenizer), self.translator.mesh
        return [inspect(*parts, *pair, mesh) for pair in pairs]

    def _ids(self, source: str, target: str | Translation) -> tuple[list[int], list[int]]:
        if isinstance(target, Translation):
            return self.translator.encode([source])[0] or [EOS], target.ids[0]
        sides = self.tokenizer.encode([source]), self.tokenizer.encode_target([target])
        return tuple([*ids, EOS] for (ids,) in sides)


def load(
    workdirs: Sequence[str | pathlib.Path],
    weights: Weights = Weights(),  # noqa: B008
    change: Callable[[Config], Config] = lambda config: config,
) -> TrainedModel:
    """Reads the weights of a run, or of an ensemble, for all devices there are.

    They are laid out on the first run's mesh where it fits, or else each device holds all of them
    and translates its share of the lines.

    Args:
      workdirs: the folders of the runs; their vocabularies are the same.
      weights: which checkpoints of each.
      change: what a caller wants otherwise in the first run's config, its decoding say; that
        config stands for all, save for the sizes of the models.

    Raises:
      UserError: see `workdir.load` and `checkpoint.read_weights`; or vocabularies differ, or a run
        has too few learned positions for what the first one translates.
    """
    runs = [(path, *workdir_lib.load(path)) for path in map(pathlib.Path, workdirs)]
    first, config, tokenizer = runs[0]
    config = change(config)
    for path, _, other in runs[1:]:
        if other.fingerprint != tokenizer.fingerprint:
            raise UserError(
                f"{first} and {path} have different vocabularies; the runs of an ensemble must "
                "share one (config.data.vocab_path names it when a run begins)."
            )
    mesh = mesh_that_fits(config.mesh)
    models, params, steps = [], [], []
    longest = config.data.max_length + config.decoding.max_extra_length
    for path, own, _ in runs:
        same_decoding = dataclasses.replace(own, decoding=config.decoding)
        models.append(abstract_model(same_decoding.decoding_model, tokenizer.vocab_size))
        most = position_limit(models[-1])
        if most is not None and most < longest:
            raise UserError(
                f"{path} has {most} learned positions (config.model.max_positions), but {longest} "
                f"are asked for by config.data.max_length of {first} plus "
                "decoding.max_extra_length; lower the second, or name a run of shorter lines first."
            )
        read, from_steps = _read(path, own, models[-1], mesh, weights)
        params.append(read)
        steps.append(from_steps)
    graphdef, values = split(models[0])[0], params[0]
    if len(runs) > 1:
        graphdef, values = split(Ensemble(models))[0], {"members": dict(enumerate(params))}
    translator = Translator(graphdef, tokenizer, config.decoding, config.data.max_length, mesh)
    return TrainedModel(config, tokenizer, graphdef, translator, values, steps)


def _read(
    workdir: pathlib.Path, config: Config, model: Transformer, mesh: Mesh, weights: Weights
) -> tuple[dict[str, Any], list[int]]:
    shapes = split(model)[1]
    template = shape_template(shapes, tree_shardings(mesh, logical_axes(model), shapes))
    has_ema = config.training.ema_decay > 0
    if weights.ema and not has_ema:
        raise UserError(f"{workdir} has no moving average: its config.training.ema_decay is 0.")
    if weights.ema is False and has_ema and weights.best:
        raise UserError(f"{workdir} keeps its best weights as moving averages only; drop --noema.")
    average = weights.average
    if average is None:
        single = weights.best or weights.step is not None
        held = 1 if single else len(averaged_steps(workdir))
        average = max(1, min(config.training.average_last, held))
    ema = has_ema if weights.ema is None else weights.ema
    return read_weights(workdir, template, ema, average, weights.best, weights.step)
