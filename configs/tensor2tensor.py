"""The authors' own code, tensor2tensor: what it really trains under the paper's name.

    python experiments/train.py --config=configs/tensor2tensor.py:v3 --workdir=runs/tensor2tensor_v3

Variants: v1 (`transformer_base_v1`, the paper but for positions, vocabulary and output length) and
v3 (`transformer_base_v3`, what `transformer_base` has meant since 2018). Values are those of
tensor2tensor/models/transformer.py; the learned "target space" vector that it adds to the encoder's
input is left out, and so is its corpus: News Commentary v13 instead of v9.
"""

from ml_collections import ConfigDict

from configs import base
from transformer.errors import choose


def get_config(version: str = "v3") -> ConfigDict:
    """What differs from the paper."""
    config = base.get_config()
    config.experiment = f"tensor2tensor:{version}"
    config.model.positions = "sinusoidal_halves"
    config.data.vocab_size = 2**15
    config.data.batch_tokens = 8 * 4_096  # on the paper's 8 GPUs
    config.decoding.max_extra_length = 100
    choose({"v1": _v1, "v3": _v3}, version, "version of tensor2tensor")(config)
    return config


def _v1(config: ConfigDict) -> None:
    """Post-norm and the paper's schedule: nothing else differs."""


def _v3(config: ConfigDict) -> None:
    config.model.norm = "pre"
    config.model.attention_dropout_rate = 0.1
    config.model.feed_forward_dropout_rate = 0.1
    config.training.adam_b2 = 0.997
    config.training.learning_rate_scale = 2.0
    config.training.warmup_steps = 8_000
