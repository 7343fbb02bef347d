"""fairseq's `transformer_wmt_en_de`, with the options of its own translation recipe.

    python experiments/train.py --config=configs/fairseq.py --workdir=runs/fairseq

Post-norm as in the paper; what differs is below. Its label smoothing, which spreads over all words
but the true one, and its 32,000 merges learnt by subword-nmt on Moses tokens are left out.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the paper."""
    config = base.get_config()
    config.experiment = "fairseq"
    config.model.attention_bias = True
    config.model.positions = "sinusoidal_halves"
    config.model.layer_norm_epsilon = 1e-5  # PyTorch's default
    config.data.vocab_size = 32_000
    config.training.adam_eps = 1e-8
    config.training.learning_rate_scale = 0.0007 * (512 * 4_000) ** 0.5  # --lr 0.0007
    config.decoding.length_penalty = "power"  # --lenpen 0.6
    return config
