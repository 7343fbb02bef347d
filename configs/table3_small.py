"""The rows of Table 3 at a size for two CPU cores, on the built-in grammar.

    python experiments/train.py --config=configs/table3_small.py:C2 --workdir=runs/table3_small/C2
    python experiments/sweep.py --workdir=runs/table3_small

Rows are those of `table3`: each keeps what it changes in the paper, at a quarter of the widths
(d_model, d_ff, d_k, d_v), half the layers and a hundredth of the steps; heads and rates stay.
"""

from ml_collections import ConfigDict

from configs import demo, table3


def get_config(row: str = "base") -> ConfigDict:
    """A row of Table 3, made smaller, with the data of `demo`."""
    config = table3.get_config(row)
    for width in ("d_model", "d_ff", "d_k", "d_v"):
        config.model[width] //= 4
    config.model.num_layers //= 2
    config.data = demo.get_config().data
    config.data.validation_pairs = 1_000
    config.training.num_steps //= 100
    config.training.warmup_steps = 400
    config.training.eval_every = config.training.num_steps
    config.training.checkpoint_every = 250
    config.training.keep_last = 1
    config.training.keep_best = 0
    return config
