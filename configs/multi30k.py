r"""Multi30k English-German, cased and untokenised text: a real corpus for two CPU cores.

    python experiments/train.py --config=configs/multi30k.py --workdir=runs/multi30k \
        --config.data.train="('train.en','train.de')" --config.data.validation="('val.en','val.de')"

The text is that of multi30k/dataset on GitHub (data/task1/raw): 29,000 and 1,014 captions of
images. docs/results.md has its learning curve.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """The size of "Transformer-Tiny" in Wu et al. 2021, "Good for Misconceived Reasons"."""
    config = base.get_config()
    config.model.num_layers = 4
    config.model.d_model = 128
    config.model.d_ff = 256
    config.model.num_heads = 4

    config.data.source = "files"
    config.data.train = ("train.en", "train.de")
    config.data.validation = ("val.en", "val.de")
    config.data.vocab_size = 8_000
    config.data.max_length = 100
    # Within an hour the number of updates counts: 4,096 tokens and dropout of 0.3 had learnt less
    # after nine epochs than this after four.
    config.data.batch_tokens = 2_048
    config.data.packing = True  # the fastest on a CPU, and one shape, hence one compilation

    config.training.num_steps = 7_500  # 32 epochs, within an hour on two cores
    config.training.warmup_steps = 1_000
    config.training.learning_rate_scale = 1.25  # a peak of 0.0035
    config.training.log_every = 50
    config.training.eval_every = 1_500
    config.training.checkpoint_every = 150
    config.training.keep_last = 10
    config.training.average_last = 10
    return config
