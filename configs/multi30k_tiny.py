r"""Transformer-Tiny of Wu et al. 2021 ("Good for Misconceived Reasons") on Multi30k, text only.

    python experiments/train.py --config=configs/multi30k_tiny.py --workdir=runs/multi30k_tiny \
        --config.data.train="('train.en','train.de')" --config.data.validation="('val.en','val.de')"

The text is lower-cased, punctuation-normalised and Moses-tokenised, as in that paper
(multi30k/dataset on GitHub, data/task1/tok); the score is BLEU on those tokens.
"""

from ml_collections import ConfigDict

from configs import multi30k


def get_config() -> ConfigDict:
    """What differs from `multi30k`: their vocabulary, batch, schedule, averaging and search."""
    config = multi30k.get_config()
    config.data.vocab_size = 10_000  # 10,000 joint byte-pair merges
    config.data.batch_tokens = 8_192  # 2 x 4,096
    config.training.adam_eps = 1e-8
    config.training.warmup_steps = 2_000
    config.training.learning_rate_scale = 2.53  # a peak of 0.005
    config.training.num_steps = 8_000
    config.training.eval_every = 250
    config.training.checkpoint_every = 50  # about an epoch
    config.training.bleu_tokenize = "none"
    config.decoding.beam_size = 5
    return config
