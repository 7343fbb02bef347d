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
from transformer.evaluation.alignment import error_rates
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
    drawn = derivations(split, PAIRS.value, model.config.seed)
    looked = model.inspect([one.english for one in drawn], [one.german for one in drawn])
    return error_rates(looked, drawn)


if __name__ == "__main__":
    cli.run(main)
