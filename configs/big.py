"""The paper's big model on WMT 2014 English-German (Table 3, last row).

    python experiments/train.py --config=configs/big.py --workdir=runs/big

Sizes are those of Table 3, training and averaging those of sections 5 and 6.1.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from base: Table 3 and section 6.1."""
    config = base.get_config()
    config.model.d_model = 1024
    config.model.d_ff = 4096
    config.model.num_heads = 16
    config.model.dropout_rate = 0.3
    config.training.num_steps = 300_000  # section 5.2
    config.training.checkpoint_every = 600  # "at 10-minute intervals" of 1.0 s a step
    config.training.keep_last = 20
    config.training.average_last = 20  # section 6.1
    return config
