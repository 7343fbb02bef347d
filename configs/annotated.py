"""The Annotated Transformer (Rush et al.), from which many learnt the model: pre-norm.

    python experiments/train.py --config=configs/annotated.py --workdir=runs/annotated

What differs from the paper is below. Its layer norm, which divides by standard deviation plus
epsilon, and its greedy decoder are left out.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the paper."""
    config = base.get_config()
    config.experiment = "annotated"
    config.model.norm = "pre"
    config.model.attention_bias = True
    config.model.output_bias = True
    config.model.tie_embeddings = "none"
    config.model.attention_dropout_rate = 0.1
    config.model.feed_forward_dropout_rate = 0.1
    return config
