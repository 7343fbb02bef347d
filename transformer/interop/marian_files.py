"""What a directory with one of Hugging Face's Marian checkpoints holds, and what is fixed there."""

from typing import Any

from transformer.errors import UserError

CONFIG, GENERATION = "config.json", "generation_config.json"
WEIGHTS, TOKENIZER_CONFIG = "model.safetensors", "tokenizer_config.json"

LAYER_NORM_EPSILON = 1e-5  # PyTorch's default, which MarianMTModel does not let change

# Keys of config.json with the values that stand for what MarianMTModel and this model share.
FIXED = {
    "model_type": "marian",
    "scale_embedding": True,
    "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True,
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
}


def safetensors() -> Any:
    """The module that reads and writes `WEIGHTS`, for NumPy.

    Raises:
      UserError: it is not installed.
    """
    try:
        import safetensors.numpy as module
    except ImportError as error:
        raise UserError(f"{WEIGHTS} takes a further package: pip install -e .[interop]") from error
    return module
