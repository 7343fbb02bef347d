"""Table 2 of the paper: the four models that were trained to the end, and whom they beat.

    python experiments/train.py --config=configs/table2.py:big_en_de --workdir=runs/table2/big_en_de

Rows: base_en_de, big_en_de, base_en_fr, big_en_fr, which are the configs base, big, base_en_fr and
big_en_fr. Scores are the paper's tokenised BLEU on newstest2014.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from configs import base, base_en_fr, big, big_en_fr
from transformer.errors import choose


class Row(NamedTuple):
    """The paper's figures of one model for one pair of languages; None where it has none."""

    model: str
    bleu: float | None
    training_flops: float | None  # time x GPUs x sustained FLOPS of the GPU
    note: str = ""


ROWS = {
    "base_en_de": Row("Transformer (base model)", 27.3, 3.3e18),
    "big_en_de": Row("Transformer (big)", 28.4, 2.3e19),
    "base_en_fr": Row("Transformer (base model)", 38.1, 3.3e18),
    "big_en_fr": Row("Transformer (big)", 41.8, 2.3e19, "41.0 in early copies of the paper"),
}
CONFIGS = {
    "base_en_de": base,
    "big_en_de": big,
    "base_en_fr": base_en_fr,
    "big_en_fr": big_en_fr,
}
# English-German first, English-French second.
OTHERS = (
    (Row("ByteNet", 23.75, None), Row("ByteNet", None, None)),
    (Row("Deep-Att + PosUnk", None, None), Row("Deep-Att + PosUnk", 39.2, 1.0e20)),
    (Row("GNMT + RL", 24.6, 2.3e19), Row("GNMT + RL", 39.92, 1.4e20)),
    (Row("ConvS2S", 25.16, 9.6e18), Row("ConvS2S", 40.46, 1.5e20)),
    (Row("MoE", 26.03, 2.0e19), Row("MoE", 40.56, 1.2e20)),
    (Row("Deep-Att + PosUnk Ensemble", None, None), Row("", 40.4, 8.0e20)),
    (Row("GNMT + RL Ensemble", 26.30, 1.8e20), Row("", 41.16, 1.1e21)),
    (Row("ConvS2S Ensemble", 26.36, 7.7e19), Row("", 41.29, 1.2e21)),
)


def get_config(row: str = "base_en_de") -> ConfigDict:
    """The config of a row, which remembers that it is one."""
    config = choose(CONFIGS, row, "row of Table 2").get_config()
    config.experiment = f"table2:{row}"
    return config
