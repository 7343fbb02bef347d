"""A small random Marian checkpoint, laid out as Hugging Face does, without code of the model."""

import io
import json
import pathlib

import numpy as np
import sentencepiece
from safetensors.numpy import save_file

D_MODEL, D_FF, HEADS, LAYERS = 32, 48, 4, 2
ENGLISH = "one two three four five six seven eight nine ten".split()
GERMAN = "eins zwei drei vier fünf sechs sieben acht neun zehn".split()


def counting(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of one to six numbers, in English and word by word in German."""
    random = np.random.default_rng(seed)
    rows = [random.integers(10, size=random.integers(1, 7)) for _ in range(count)]
    return tuple([" ".join(words[n] for n in row) for row in rows] for words in (ENGLISH, GERMAN))


def write_marian_directory(folder: pathlib.Path, seed: int = 0, **changes) -> pathlib.Path:
    """Two SentencePiece models of numbers in words, and weights that are sure of themselves.

    Args:
      folder: is made.
      seed: of the weights.
      **changes: keys of config.json with other values; None leaves a key out.
    """
    folder.mkdir(parents=True)
    models = [train_sentencepiece(text) for text in counting(300)]
    pieces = sorted({piece for model in models for piece in pieces_of(model)})
    table = {piece: n for n, piece in enumerate(["</s>", "<unk>", *pieces, ">>deu<<", "<pad>"])}
    (folder / "source.spm").write_bytes(models[0])
    (folder / "target.spm").write_bytes(models[1])
    (folder / "vocab.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    write_json(folder / "config.json", config(len(table)) | changes)
    write_json(folder / "generation_config.json", generation_config(len(table)))
    languages = {"source_lang": "en", "target_lang": "de"}
    write_json(folder / "tokenizer_config.json", languages)
    weights = tensors(np.random.default_rng(seed), len(table))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_json(path: pathlib.Path, values: dict) -> None:
    values = {key: value for key, value in values.items() if value is not None}
    path.write_text(json.dumps(values), encoding="utf-8")


def train_sentencepiece(text: list[str]) -> bytes:
    """A model of 40 pieces with SentencePiece's own reserved ids, not this project's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def pieces_of(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    every = range(processor.vocab_size())
    return [
        processor.id_to_piece(i)
        for i in every
        if not (processor.is_control(i) or processor.is_unknown(i))
    ]


def config(vocab_size: int) -> dict:
    sizes = {"layers": LAYERS, "ffn_dim": D_FF, "attention_heads": HEADS}
    return {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "d_model": D_MODEL,
        **{f"{side}_{key}": n for side in ("encoder", "decoder") for key, n in sizes.items()},
        "activation_function": "swish",
        "scale_embedding": True,
        "dropout": 0.1,
        "max_position_embeddings": 256,
        "vocab_size": vocab_size,
        "decoder_vocab_size": vocab_size,
        "pad_token_id": vocab_size - 1,
        "decoder_start_token_id": vocab_size - 1,
        "eos_token_id": 0,
    }


def generation_config(vocab_size: int) -> dict:
    return {
        "num_beams": 3,
        "bad_words_ids": [[vocab_size - 1]],
        "pad_token_id": vocab_size - 1,
        "decoder_start_token_id": vocab_size - 1,
        "eos_token_id": 0,
    }


def tensors(random: np.random.Generator, vocab_size: int) -> dict[str, np.ndarray]:
    def normal(*shape, mean=0.0, scale=0.2):
        return random.normal(mean, scale, shape).astype(np.float32)

    found = {"model.shared.weight": normal(vocab_size, D_MODEL, scale=0.15)}
    found["model.shared.weight"][-1] = 0  # Marian's decoder begins with nothing
    found["final_logits_bias"] = normal(1, vocab_size)
    for stack, attentions in (("encoder", ["self"]), ("decoder", ["self", "encoder"])):
        for layer in (f"model.{stack}.layers.{n}" for n in range(LAYERS)):
            norms = ["final_layer_norm"]
            for attention in (f"{name}_attn" for name in attentions):
                norms.append(f"{attention}_layer_norm")
                for part in ("q", "k", "v", "out"):
                    name = f"{layer}.{attention}.{part}_proj"
                    found[f"{name}.weight"] = normal(D_MODEL, D_MODEL)
                    found[f"{name}.bias"] = normal(D_MODEL)
            for name, out, into in (("fc1", D_FF, D_MODEL), ("fc2", D_MODEL, D_FF)):
                found[f"{layer}.{name}.weight"] = normal(out, into)
                found[f"{layer}.{name}.bias"] = normal(out)
            for name in norms:
                found[f"{layer}.{name}.weight"] = normal(D_MODEL, mean=1.0)
                found[f"{layer}.{name}.bias"] = normal(D_MODEL)
    found[f"model.decoder.layers.{LAYERS - 1}.final_layer_norm.weight"] *= 6
    return found
