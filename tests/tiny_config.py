"""A run of seconds on the built-in grammar, for tests that start the scripts."""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    config = demo.get_config()
    config.model.num_layers = 1
    config.model.d_model = 16
    config.model.d_ff = 32
    config.model.num_heads = 2
    config.model.dropout_rate = 0.1  # so that a resumed run must get its random numbers right
    config.data.grammar_pairs = 300
    config.data.validation_pairs = 8
    config.data.vocab_size = 500
    config.data.max_length = 48
    config.data.batch_tokens = 2_048
    config.data.packing = True  # one shape: one compilation
    config.training.num_steps = 12
    config.training.ema_decay = 0.9
    config.training.warmup_steps = 4
    config.training.log_every = 1
    config.training.eval_every = 12
    config.training.checkpoint_every = 4
    config.training.keep_last = 3
    config.training.average_last = 2
    config.decoding.max_extra_length = 4
    return config
