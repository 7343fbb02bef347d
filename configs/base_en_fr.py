"""The paper's base model on WMT 2014 English-French (Table 2).

    python experiments/train.py --config=configs/base_en_fr.py --workdir=runs/base_en_fr

Vocabulary and languages are those of section 5.1.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from English-German: section 5.1."""
    config = base.get_config()
    config.data.languages = ("en", "fr")
    config.data.tfds_name = "wmt14_translate/fr-en"  # 36M pairs
    config.data.vocab_size = 32_000  # word pieces
    config.data.vocab_type = "unigram"  # SentencePiece's relative of word pieces
    return config
