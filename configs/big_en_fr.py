"""The paper's big model on WMT 2014 English-French (Table 2).

    python experiments/train.py --config=configs/big_en_fr.py --workdir=runs/big_en_fr

The sizes of `big`, the data of `base_en_fr`, and less dropout (section 6.1).
"""

from ml_collections import ConfigDict

from configs import base_en_fr, big


def get_config() -> ConfigDict:
    """The big model's sizes and training on the English-French data; dropout is lower."""
    config = big.get_config()
    config.data = base_en_fr.get_config().data
    config.model.dropout_rate = 0.1  # section 6.1: instead of 0.3
    return config
