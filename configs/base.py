r"""The paper's base model on WMT 2014 English-German ("Attention Is All You Need", 2017).

    python experiments/train.py --config=configs/base.py --workdir=runs/base

takes WMT14 from TensorFlow Datasets. Without TensorFlow, and for corpora beyond a host's memory:

    python experiments/prepare.py --corpus=wmt14_en_de --output=data/wmt14_en_de
    python experiments/train.py --config=configs/base.py --workdir=runs/base \
        --config.data.source=prepared --config.data.prepared_dir=data/wmt14_en_de

Every value has its source beside it: a section or table of the paper (arXiv 1706.03762), or the
reason for a choice that the paper leaves open.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Table 3, row "base"."""
    config = ConfigDict()
    config.seed = 0
    config.experiment = ""  # the row of the paper's tables, where a config stands for one

    config.model = ConfigDict()
    config.model.num_layers = 6  # N, section 3.1
    config.model.d_model = 512  # section 3.1
    config.model.d_ff = 2048  # section 3.3
    config.model.num_heads = 8  # h, section 3.2.2
    config.model.d_k = 0  # d_model / h, here 64: section 3.2.2
    config.model.d_v = 0
    config.model.dropout_rate = 0.1  # P_drop, section 5.4
    config.model.attention_dropout_rate = 0.0  # section 5.4 names none on attention weights
    config.model.feed_forward_dropout_rate = 0.0  # nor inside the feed-forward network
    config.model.norm = "post"  # LayerNorm(x + Sublayer(x)), section 3.1
    config.model.positions = "sinusoidal"  # section 3.5; row E of Table 3 has learned ones
    config.model.max_positions = 1024  # only of learned positions
    config.model.tie_embeddings = "all"  # section 3.4
    config.model.dtype = "float32"  # P100s; "bfloat16" for TPUs and newer GPUs
    config.model.remat = False
    config.model.activation = "relu"  # equation 2
    config.model.attention_bias = False  # section 3.2.2: X W, and no b
    config.model.output_bias = False  # section 3.4: the embedding matrix alone
    config.model.layer_norm_epsilon = 1e-6  # not in the paper; tensor2tensor's value
    config.model.attention = "plain"  # "fused": the same by a kernel, on GPUs and TPUs

    config.data = ConfigDict()
    config.data.source = "tfds"
    config.data.languages = ("en", "de")
    config.data.train = ()
    config.data.validation = ()
    config.data.test = ()
    config.data.tfds_name = "wmt14_translate/de-en"  # 4.5M pairs, section 5.1
    config.data.tfds_data_dir = ""  # TFDS's own default
    config.data.prepared_dir = ""  # of source "prepared": see experiments/prepare.py
    config.data.grammar_pairs = 100_000
    config.data.vocab_size = 37_000  # shared source-target vocabulary, section 5.1
    config.data.vocab_type = "bpe"  # section 5.1
    config.data.vocab_path = ""
    config.data.max_length = 256  # not in the paper; tensor2tensor's value
    config.data.max_length_ratio = 9.0  # not in the paper; drops misaligned pairs only
    config.data.batch_tokens = 25_000  # source, and as many target tokens, section 5.1
    config.data.packing = False  # pairs of similar length together, section 5.1
    config.data.max_shapes = 12  # not packed, batches pad less with more; each is compiled
    config.data.validation_pairs = 3_000  # all of newstest2013

    config.training = ConfigDict()
    config.training.num_steps = 100_000  # section 5.2
    config.training.warmup_steps = 4_000  # section 5.3
    config.training.learning_rate_scale = 1.0  # equation 3 as it stands
    config.training.adam_b1 = 0.9  # section 5.3
    config.training.adam_b2 = 0.98
    config.training.adam_eps = 1e-9
    config.training.label_smoothing = 0.1  # section 5.4
    config.training.accumulate_steps = 1
    config.training.clip_norm = 0.0
    config.training.ema_decay = 0.0
    config.training.log_every = 100
    config.training.eval_every = 3_000
    config.training.checkpoint_every = 1_500  # "at 10-minute intervals" of 0.4 s a step, 6.1
    config.training.keep_last = 5
    config.training.keep_best = 1
    config.training.average_last = 5  # section 6.1
    config.training.patience = 0
    config.training.bleu_tokenize = "13a"  # sacreBLEU's default

    config.decoding = ConfigDict()
    config.decoding.strategy = "beam"
    config.decoding.beam_size = 4  # section 6.1
    config.decoding.alpha = 0.6  # section 6.1
    config.decoding.length_penalty = "gnmt"  # ((5 + |Y|) / 6)^alpha, section 6.1's reference
    config.decoding.max_extra_length = 50  # "input length + 50", section 6.1
    config.decoding.dtype = "as_trained"  # model.dtype; or "float32" or "bfloat16"
    config.decoding.batch_tokens = 8_192
    config.decoding.temperature = 1.0  # this and the next three: of strategy "sample" only
    config.decoding.top_k = 0
    config.decoding.top_p = 1.0
    config.decoding.seed = 0

    config.mesh = ConfigDict()
    config.mesh.data = -1  # 8 P100s in the paper: data parallelism, section 5.2
    config.mesh.fsdp = 1
    config.mesh.tensor = 1
    return config
