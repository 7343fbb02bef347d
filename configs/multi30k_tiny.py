r"""Transformer-Tiny of Wu et al. 2021 ("Good for Misconceived Reasons") on Multi30k, text only.

    python experiments/train.py --config=configs/multi30k_tiny.py --workdir=runs/multi30k_tiny \
        --config.data.train="('train.en','train.de')" --config.data.validation="('val.en','val.de')"

The text is lower-cased, punctuation-normalised and Moses-tokenised, as in that paper
(multi30k/dataset on GitHub, data/task1/tok); the score is BLEU on those tokens. Theirs are steps of
8,192 tokens, 8,000 at most, with a peak of 0.005 after 2,000. Two cores would be at that for nearly
three hours, so steps are a quarter of that here, with the schedule of `multi30k`.
"""

from ml_collections import ConfigDict

from configs import multi30k


def get_config() -> ConfigDict:
    """What differs from `multi30k`: their vocabulary, dropout, epsilon, averaging and search."""
    config = multi30k.get_config()
    config.model.dropout_rate = 0.3
    config.data.vocab_size = 10_000  # 10,000 joint byte-pair merges
    config.training.adam_eps = 1e-8
    config.training.num_steps = 13_000
    config.training.checkpoint_every = 250  # about an epoch: the last ten are averaged
    config.training.bleu_tokenize = "none"
    config.decoding.beam_size = 5
    config.decoding.length_penalty = "power"  # |Y|
    config.decoding.alpha = 1.0
    return config
