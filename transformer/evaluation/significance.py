"""Could chance alone explain a difference in BLEU? sacreBLEU's two paired tests.

Approximate randomisation exchanges the two outputs sentence by sentence, the bootstrap draws the
sentences anew, and both ask how often a larger difference than the measured one comes of it. They
speak of these two outputs only, not of what another seed of the same training would give.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.significance import PairedTest

from transformer.errors import UserError
from transformer.evaluation.bleu import bleu_metric, check_sizes

_SEED = "SACREBLEU_SEED"  # sacreBLEU's own variable


class Comparison(NamedTuple):
    """One output against the baseline."""

    difference: float  # BLEU, on a scale of 100, minus the baseline's
    bootstrap_p: float
    randomization_p: float


class Significance(NamedTuple):
    """A comparison for each output, and how the p-values were computed."""

    comparisons: list[Comparison]
    bootstrap_signature: str
    randomization_signature: str


def compare(
    baseline: Sequence[str],
    outputs: Sequence[Sequence[str]],
    references: Sequence[str],
    tokenize: str = "13a",
) -> Significance:
    """Paired bootstrap (Koehn 2004) and approximate randomisation (Riezler and Maxwell 2005).

    1,000 samples and 10,000 trials, sacreBLEU's defaults, of two-sided tests; so the smallest
    p-values are 1/1001 and 1/10001. The seed is 12345, or the environment variable SACREBLEU_SEED:
    the same outputs have the same p-values each time. An output that equals the baseline has the
    p-value 1; sacreBLEU itself gives the smallest one, as no difference ever exceeds none.

    Args:
      baseline: the output that each of `outputs` is compared with.
      outputs: of other systems, sentence by sentence.
      references: one a sentence.
      tokenize: sacreBLEU's tokenizer.

    Raises:
      UserError: the sizes differ or are 0, `tokenize` cannot be used, or SACREBLEU_SEED is not a
        whole number above 0.
    """
    for output in (baseline, *outputs):
        check_sizes(output, references)
    seed = os.environ.get(_SEED, "12345")
    if not seed.isdecimal() or int(seed) == 0:  # sacreBLEU seeds 0 and "none" from the clock
        raise UserError(f"{_SEED} is {seed!r}; make it a whole number above 0, or unset it.")
    systems = [(str(number), list(output)) for number, output in enumerate((baseline, *outputs))]
    results, signatures = {}, {}
    for kind in ("bs", "ar"):
        metrics = {"BLEU": bleu_metric(tokenize)}
        signature, scores = PairedTest(systems, metrics, [list(references)], test_type=kind)()
        results[kind], signatures[kind] = scores["BLEU"], str(signature["BLEU"])
    first = results["bs"][0].score
    comparisons = [
        Comparison(0.0, 1.0, 1.0)
        if list(output) == list(baseline)
        else Comparison(float(bs.score - first), float(bs.p_value), float(ar.p_value))
        for output, bs, ar in zip(outputs, results["bs"][1:], results["ar"][1:], strict=True)
    ]
    return Significance(comparisons, signatures["bs"], signatures["ar"])
