"""The built-in English-German grammar, learnt in minutes on two CPU cores.

    make demo
    python experiments/train.py --config=configs/demo.py --workdir=runs/demo

`make demo` also scores it on both held-out sets and translates a few sentences.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """A small model, for sentences of a small vocabulary, of which there are plenty."""
    config = base.get_config()
    config.model.num_layers = 2
    config.model.d_model = 128
    config.model.d_ff = 512
    config.model.num_heads = 4
    config.model.dropout_rate = 0.0  # hardly any sentence is seen twice

    config.data.source = "grammar"
    config.data.tfds_name = ""
    config.data.grammar_pairs = 100_000
    config.data.vocab_size = 4_000
    config.data.max_length = 48
    config.data.batch_tokens = 1_024  # small batches: in minutes, the number of updates counts
    config.data.packing = True  # one shape, hence one compilation
    config.data.validation_pairs = 200

    config.training.num_steps = 2_600
    config.training.warmup_steps = 400
    config.training.log_every = 100
    config.training.eval_every = 2_600
    config.training.checkpoint_every = 50
    config.training.keep_last = 10
    config.training.average_last = 10  # the schedule ends at a high rate: worth three BLEU
    return config
