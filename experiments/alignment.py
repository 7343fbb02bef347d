"""How well a run's cross-attention aligns words, scored against the grammar's own true links.

    python experiments/alignment.py --workdir=runs/demo

The model reads held-out sentences of the built-in grammar with their true translations. Each German
word is linked to the English word that it attends most, and the links are scored by the alignment
error rate (Och & Ney 2003; all of the grammar's links are sure). The table has it for every head
and for the mean of a layer's heads. Which of them is best is decided on as many sentences of the
validation split, and told below the table with its rate.
"""

import numpy as np
from absl import flags

from experiments import cli
from experiments.tables import table
from transformer.data.grammar import derivations
from transformer.evaluation.alignment import align, alignment_error_rate, pieces_of_words
from transformer.training.load import TrainedModel, load

WORKDIRS = cli.workdirs_flag()
PAIRS = flags.DEFINE_integer("pairs", 200, "sentences of each split", lower_bound=1)
WEIGHTS = cli.weights_flags()


def main() -> None:
    """See the module's docstring."""
    model = load(WORKDIRS.value, WEIGHTS())
    validation, test = (_rates(model, split) for split in ("validation", "test"))
    heads = [f"head {head}" for head in range(1, test.shape[1])]
    rows = [
        [f"layer {layer}", *(f"{rate:.1%}" for rate in row)] for layer, row in enumerate(test, 1)
    ]
    print(table(["AER", "mean of heads", *heads], rows, "text"))
    layer, head = np.unravel_index(validation.argmin(), validation.shape)
    print(
        f"Best on {PAIRS.value} validation sentences: layer {layer + 1}, "
        f"{['mean of heads', *heads][head]}. Its AER on {PAIRS.value} test sentences: "
        f"{test[layer, head]:.1%}."
    )


def _rates(model: TrainedModel, split: str) -> np.ndarray:
    """Alignment error rates [N 1 + H]: of the mean of a layer's heads, then of each head."""
    drawn = derivations(split, PAIRS.value, model.config.seed)
    looked = model.inspect([one.english for one in drawn], [one.german for one in drawn])
    found = []
    for one, seen in zip(drawn, looked, strict=True):
        source = pieces_of_words(seen.source_tokens, one.english_words)
        target = pieces_of_words(seen.target_tokens, one.german_words)
        each = seen.cross_attention
        each = np.concatenate([each.mean(1, keepdims=True), each], axis=1)
        found.append([[align(weights, source, target) for weights in layer] for layer in each])
    sure = [one.alignment for one in drawn]
    layers, columns = len(found[0]), len(found[0][0])
    return np.array(
        [
            [alignment_error_rate([links[n][h] for links in found], sure) for h in range(columns)]
            for n in range(layers)
        ]
    )


if __name__ == "__main__":
    cli.run(main)
