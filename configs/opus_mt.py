r"""Fine-tuning of an OPUS-MT model (Tiedemann and Thottingal 2020) of Marian's base size.

    python experiments/import.py --checkpoint=opus-mt-en-de --workdir=runs/opus_mt
    python experiments/train.py --config=configs/opus_mt.py --workdir=runs/opus_mt \
        --config.data.train="('train.en','train.de')" --config.data.validation="('val.en','val.de')"

The first command brings the weights and the vocabulary, and takes from here what a checkpoint does
not say. For a model of another size, --config=runs/opus_mt/config.json has its sizes.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Marian's variant of the base model, and a thousand careful steps."""
    config = base.get_config()
    config.model.activation = "swish"
    config.model.attention_bias = True
    config.model.output_bias = True
    config.model.layer_norm_epsilon = 1e-5

    config.data.source = "files"
    config.data.tfds_name = ""
    config.data.train = ("train.en", "train.de")
    config.data.validation = ("val.en", "val.de")
    config.data.batch_tokens = 4_096

    config.training.num_steps = 1_000
    config.training.warmup_steps = 100
    config.training.learning_rate_scale = 0.01  # a peak of 4.4e-5: the weights are good already
    config.training.log_every = 10
    config.training.eval_every = 100
    config.training.checkpoint_every = 100
    config.training.average_last = 1  # the checkpoints of a short run hardly differ

    config.decoding.length_penalty = "power"  # transformers', with its exponent of 1
    config.decoding.alpha = 1.0
    return config
