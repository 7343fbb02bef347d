"""Attention, both layers and the whole model as PyTorch has them, on this project's weights.

Nothing here comes from the transformer package. Weights are nested dicts of tensors, named and
laid out as the package's parameters; each function turns them into the state of a PyTorch module
and calls that, so that gradients arrive in this project's layout too.
"""

import torch
from torch import nn
from torch.func import functional_call

EPSILON = 1e-6

# (kind of module, variant): attention with a mask of each sort, layers with a norm of each sort.
CASES = [
    ("attention", "padding"),
    ("attention", "causal"),
    ("attention", "cross"),
    ("encoder", "post"),
    ("encoder", "pre"),
    ("decoder", "post"),
    ("decoder", "pre"),
]


def theirs(kind: str, variant: str, weights: dict, inputs: dict) -> torch.Tensor:
    """A case's output. `inputs` has source [B S D] and target [B T D], and segments of both."""
    source, source_padding = inputs["source"], inputs["source_segments"] == 0
    target, target_padding = inputs["target"], inputs["target_segments"] == 0
    if kind == "encoder":
        return encoder_layer(weights, variant, source, source_padding)
    if kind == "decoder":
        return decoder_layer(weights, variant, target, target_padding, source, source_padding)
    if variant == "padding":
        return attention(weights, source, source, source_padding)
    if variant == "causal":
        return attention(weights, target, target, target_padding, later(target))
    return attention(weights, target, source, source_padding)


def attention(weights, x, memory, padding, mask=None):
    d_model, heads, _ = weights["query"].shape
    module = nn.MultiheadAttention(d_model, heads, bias=False, batch_first=True)
    masks = {"key_padding_mask": padding, "attn_mask": mask}
    state = attention_state(weights)
    return functional_call(module, state, (x, memory, memory), masks, strict=True)[0]


def encoder_layer(weights, norm, x, padding):
    module = nn.TransformerEncoderLayer(**layer_options(weights, norm))
    masks = {"src_key_padding_mask": padding}
    return functional_call(module, encoder_state(weights), (x,), masks, strict=True)


def decoder_layer(weights, norm, x, padding, memory, memory_padding):
    module = nn.TransformerDecoderLayer(**layer_options(weights, norm))
    masks = {
        "tgt_mask": later(x),
        "tgt_key_padding_mask": padding,
        "memory_key_padding_mask": memory_padding,
    }
    return functional_call(module, decoder_state(weights), (x, memory), masks, strict=True)


def transformer(weights, norm, source, source_padding, target):
    """Logits [B T V] of ids; one matrix embeds both languages and gives the logits."""
    matrix = weights["target_embedding"]["matrix"]
    encoder, decoder = weights["encoder"], weights["decoder"]
    module = nn.Transformer(
        num_encoder_layers=len(encoder),
        num_decoder_layers=len(decoder),
        **layer_options(encoder[0], norm),
    )
    state = {}
    for index in encoder:
        state |= prefixed(f"encoder.layers.{index}", encoder_state(encoder[index]))
    for index in decoder:
        state |= prefixed(f"decoder.layers.{index}", decoder_state(decoder[index]))
    if norm == "pre":
        state |= norm_state("encoder.norm", weights["encoder_norm"])
        state |= norm_state("decoder.norm", weights["decoder_norm"])
    else:
        # nn.Transformer ends both stacks with a norm, which the paper's layers have already.
        module.encoder.norm = module.decoder.norm = None
    embedded = embed(matrix, source), embed(matrix, target)
    masks = {
        "tgt_mask": later(embedded[1]),
        "src_key_padding_mask": source_padding,
        "memory_key_padding_mask": source_padding,
    }
    return functional_call(module, state, embedded, masks, strict=True) @ matrix.T


def embed(matrix, ids):
    """Sections 3.4 and 3.5: rows times sqrt(d_model), plus sinusoids."""
    d_model = matrix.shape[1]
    rows = nn.functional.embedding(ids, matrix) * d_model**0.5
    position = torch.arange(ids.shape[1], dtype=matrix.dtype)[:, None]
    angles = position / 10_000 ** (torch.arange(0, d_model, 2, dtype=matrix.dtype) / d_model)
    table = torch.zeros_like(rows[0])
    table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
    return rows + table


def later(x):
    """[T T], True where a key may not be attended because it comes after the query."""
    length = x.shape[1]
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def layer_options(weights, norm):
    d_model, heads, _ = weights["self_attention"]["query"].shape
    # Modules stay in training mode, without dropout: evaluation mode may take a fused path, which
    # writes zeros into padding.
    return {
        "d_model": d_model,
        "nhead": heads,
        "dim_feedforward": weights["feed_forward"]["w1"].shape[1],
        "dropout": 0.0,
        "activation": "relu",
        "layer_norm_eps": EPSILON,
        "batch_first": True,
        "norm_first": norm == "pre",
    }


def attention_state(weights):
    """PyTorch's matrices are [out, in], with heads side by side, and those of Q, K, V in one."""
    d_model = weights["query"].shape[0]
    into_heads = [weights[name].reshape(d_model, -1).T for name in ("query", "key", "value")]
    return {
        "in_proj_weight": torch.cat(into_heads),
        "out_proj.weight": weights["output"].reshape(-1, d_model).T,
    }


def layer_attention_state(weights):
    """The same with biases of zero: PyTorch's layers have biases everywhere or nowhere."""
    state = attention_state(weights)
    return state | {
        "in_proj_bias": torch.zeros_like(state["in_proj_weight"][:, 0]),
        "out_proj.bias": torch.zeros_like(state["out_proj.weight"][:, 0]),
    }


def encoder_state(weights):
    return {
        **prefixed("self_attn", layer_attention_state(weights["self_attention"])),
        **norm_state("norm1", weights["self_attention_residual"]["norm"]),
        **feed_forward_state(weights["feed_forward"]),
        **norm_state("norm2", weights["feed_forward_residual"]["norm"]),
    }


def decoder_state(weights):
    return {
        **prefixed("self_attn", layer_attention_state(weights["self_attention"])),
        **norm_state("norm1", weights["self_attention_residual"]["norm"]),
        **prefixed("multihead_attn", layer_attention_state(weights["cross_attention"])),
        **norm_state("norm2", weights["cross_attention_residual"]["norm"]),
        **feed_forward_state(weights["feed_forward"]),
        **norm_state("norm3", weights["feed_forward_residual"]["norm"]),
    }


def feed_forward_state(weights):
    return {
        "linear1.weight": weights["w1"].T,
        "linear1.bias": weights["b1"],
        "linear2.weight": weights["w2"].T,
        "linear2.bias": weights["b2"],
    }


def norm_state(name, weights):
    return {f"{name}.weight": weights["scale"], f"{name}.bias": weights["bias"]}


def prefixed(prefix, state):
    return {f"{prefix}.{name}": value for name, value in state.items()}
