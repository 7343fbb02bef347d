# %% [markdown]
# # One batch, from text to update
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/one_batch.ipynb)
#
# Four sentence pairs become ids, arrays, embeddings, attention, logits, a loss, a gradient and an
# Adam update. After each step the arrays are printed with their shapes, beside the paper's
# equation for it. All functions are the library's own, on a model small enough to look into.
# Whatever is worked out by hand here is compared with what the training step of the library
# computes. It runs in under a minute.

# %%
# Setup. In Colab this fetches the code and installs what it needs; elsewhere it installs nothing.
import os
import pathlib
import subprocess
import sys

if "google.colab" in sys.modules and not pathlib.Path("experiments").is_dir():
    if not pathlib.Path("transformer-jax").is_dir():
        CODE = "https://github.com/transformer-jax/transformer-jax"
        subprocess.run(["git", "clone", "--quiet", "--depth=1", CODE], check=True)
    PIP = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*PIP, "--editable", "transformer-jax[plots]"], check=True)
    os.chdir("transformer-jax")

HERE = pathlib.Path.cwd()
ROOTS = [d for d in (HERE, *HERE.parents) if (d / "experiments" / "environment.py").is_file()]
assert ROOTS, "Open this notebook in a clone of the repository, or in Colab."
os.chdir(ROOTS[0])
sys.path.insert(0, str(ROOTS[0]))

from experiments import environment

environment.setup()  # counts only before JAX is imported

# %% [markdown]
# **One alphabet** for all shapes: B batch, S source length, T target length, D $d_{model}$, H
# heads, K size of a head ($d_k = d_v$), F $d_{ff}$, V vocabulary, N layers. The function below
# prints an array's name, its shape in these letters and in numbers, and what it means. It fails if
# a letter stands for two sizes.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

np.set_printoptions(precision=4, suppress=True, linewidth=100)
STEPS = int(os.environ.get("NOTEBOOK_STEPS", 150))  # updates at the end, on the same batch
SIZES = {"1": 1}


def describe(name, array, letters, meaning):
    """Prints what an array is, and checks its shape against all earlier ones."""
    for letter, size in zip(letters.split(), array.shape, strict=True):
        assert SIZES.setdefault(letter, size) == size, f"{letter} is {SIZES[letter]}, not {size}"
    sizes = " ".join(map(str, array.shape))
    print(f"{name:<16} [{letters}] = [{sizes}]".ljust(44), f"{array.dtype!s:<8} {meaning}")


# %% [markdown]
# ## Text
#
# The built-in grammar makes English sentences with their only German translation. Here are four
# short ones.

# %%
from transformer.data.corpus import Corpus
from transformer.data.grammar import pairs

sources, targets = pairs("train", 3_000)
lengths = np.array([len(source.split()) for source in sources])
chosen = [int(np.flatnonzero(lengths == length)[0]) for length in (4, 5, 7, 9)]
corpus = Corpus([sources[i] for i in chosen], [targets[i] for i in chosen])
for source, target in zip(*corpus, strict=True):
    print(f"{source}\n    {target}")

# %% [markdown]
# ## Pieces and ids
#
# Byte-pair encoding (section 5.1) cuts text into pieces that both languages share. A piece that
# begins a word starts with ▁. The vocabulary is learnt from 3,000 pairs. Four ids are reserved:
# 0 padding, 1 `<s>` (BOS), 2 `</s>` (EOS), 3 unknown.

# %%
from transformer.data.tokenizer import train_tokenizer

tokenizer = train_tokenizer([*sources, *targets], vocab_size=2_000)
ids = tokenizer.encode([corpus.source[1]])[0]
print(corpus.source[1])
print(tokenizer.pieces(ids))
print(ids)
assert tokenizer.decode([ids]) == [corpus.source[1]]

# %% [markdown]
# ## A batch of arrays
#
# A batch is rectangular: shorter sentences are padded with 0. Source sentences end with EOS. The
# decoder gets `target_in`, which begins with BOS, and is to predict `target_out`, the same shifted
# by one position, which ends with EOS. *Segments* number the sentences of a row: here 1, and 0
# where there is padding. With packing, a row holds several sentences, 1, 2, ..., and positions
# restart.

# %%
import dataclasses

from configs import demo
from transformer import config as config_lib
from transformer.data.pipeline import build_train_data

config = config_lib.from_dict(demo.get_config())
config = dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, packing=False, batch_tokens=128),
    model=dataclasses.replace(
        config.model, num_layers=2, d_model=32, num_heads=4, d_k=8, d_v=8, d_ff=64
    ),
)
data = build_train_data(config.data, tokenizer, corpus, seed=0, row_multiple=4)
batch = next(data.iterator())
describe("source", batch.source, "B S", "ids of the source")
describe("source_segments", batch.source_segments, "B S", "1 where there is a token, 0 in padding")
describe("target_in", batch.target_in, "B T", "what the decoder is given: BOS w1 ... wn")
describe("target_out", batch.target_out, "B T", "what it is to predict: w1 ... wn EOS")
describe("target_segments", batch.target_segments, "B T", "likewise of the target")
later = batch.target_segments[:, 1:] > 0  # the same tokens, one position later
assert (batch.target_in[:, 1:][later] == batch.target_out[:, :-1][later]).all()

# %%


def draw_ids(axes, ids, segments, title):
    """Cells with the pieces in them; padding is grey."""
    axes.imshow(segments > 0, cmap="Blues", vmin=0, vmax=5, aspect="auto")
    for row, column in np.ndindex(ids.shape):
        real = segments[row, column] > 0
        label = tokenizer.pieces([int(ids[row, column])])[0] if real else "0"
        size, colour = (8, "black") if real else (7, "#999999")
        axes.text(column, row, label, ha="center", va="center", size=size, color=colour)
    axes.set_xticks(np.arange(ids.shape[1]))
    axes.set_yticks(range(len(ids)), [f"row {row}" for row in range(len(ids))])
    axes.set_title(title, loc="left")
    axes.set_xticks(np.arange(ids.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(ids) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)


figure, panels = plt.subplots(3, 1, figsize=(11, 6), layout="constrained")
draw_ids(panels[0], batch.source, batch.source_segments, "source [B S]")
draw_ids(panels[1], batch.target_in, batch.target_segments, "target_in [B T]")
draw_ids(panels[2], batch.target_out, batch.target_segments, "target_out [B T]")
plt.show()

# %% [markdown]
# ## Who may attend whom
#
# Masks are boolean, True = may attend, and made in one place from the segments. There are three
# attentions (section 3.2.3):
#
# - encoder self-attention: every source position, padding excepted;
# - decoder self-attention: no later position. (Padding stands behind the sentence: no real
#   position could see it.)
# - cross-attention, from the decoder over the encoder's output: every source position but padding.

# %%
from transformer.model.visibility import Visibility

see_source = Visibility(jnp.asarray(batch.source_segments))
see_earlier = Visibility(causal=True)
source_mask = see_source.mask(batch.source.shape[1])
causal_mask = see_earlier.mask(batch.target_in.shape[1])
describe("source_mask", source_mask, "B 1 1 S", "True: this key is no padding; for all H and T")
describe("causal_mask", causal_mask, "1 1 T T", "True: this key is not later; for all B and H")

figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
panels[0].imshow(source_mask[:, 0, 0], cmap="Blues", vmax=1.6, aspect="auto")
panels[0].set(title="source_mask, as [B S]", xlabel="key", ylabel="row of the batch")
panels[0].set_yticks(range(4))
panels[1].imshow(causal_mask[0, 0], cmap="Blues", vmax=1.6)
panels[1].set(title="causal_mask, as [T T]", xlabel="key", ylabel="query")
for panel, length in zip(panels, (SIZES["S"], SIZES["T"]), strict=True):
    panel.set_xticks(range(0, length, 4))
panels[1].set_yticks(range(0, SIZES["T"], 4))
figure.suptitle("dark: may attend", fontsize=10, color="#555555")
plt.show()

# %% [markdown]
# ## The model's parameters
#
# Glorot-uniform matrices, and embeddings of variance $1/d_{model}$. `split` takes the module apart
# into its structure and a nested dict of arrays, which is what training changes.

# %%
from flax import nnx

from transformer.model.encoder_decoder import Transformer, split

model = Transformer(config.model, tokenizer.vocab_size, nnx.Rngs(0))
graphdef, params = split(model)
layer = params["encoder"][0]
describe("E", params["target_embedding"]["matrix"], "V D", "embeds both languages, gives logits")
for name in ("query", "key", "value"):
    describe(f"W^{name[0].upper()}", layer["self_attention"][name], "D H K", f"{name} projections")
describe("W^O", layer["self_attention"]["output"], "H K D", "joins the heads")
describe("W_1", layer["feed_forward"]["w1"], "D F", "feed-forward, equation 2")
describe("b_1", layer["feed_forward"]["b1"], "F", "its biases start at 0")
describe("W_2", layer["feed_forward"]["w2"], "F D", "back to D")
describe("b_2", layer["feed_forward"]["b2"], "D", "likewise")
norm = layer["feed_forward_residual"]["norm"]
describe("scale, bias", norm["scale"], "D", "of each layer norm")
print(f"\n{sum(a.size for a in jax.tree.leaves(params)):,} numbers in all")

# %% [markdown]
# ## Embeddings and positions
#
# Section 3.4 multiplies the rows of $E$ by $\sqrt{d_{model}}$. Section 3.5 adds
#
# $$PE_{(pos,\,2i)} = \sin(pos / 10000^{2i/d_{model}}), \qquad
# PE_{(pos,\,2i+1)} = \cos(pos / 10000^{2i/d_{model}})$$

# %%
embedded = model.source_embedding(jnp.asarray(batch.source))
positions = model.source_positions(batch.source.shape[1])
x = embedded + positions
describe("embedded", embedded, "B S D", "rows of E times sqrt(D)")
describe("positions", positions, "S D", "the same for every sentence")
describe("x", x, "B S D", "what enters the encoder")

E = params["target_embedding"]["matrix"]
np.testing.assert_allclose(embedded[0, 0], E[batch.source[0, 0]] * np.sqrt(32), rtol=1e-6)
np.testing.assert_allclose(positions[3, 4], np.sin(3 / 10_000 ** (4 / 32)), rtol=1e-6)
np.testing.assert_allclose(positions[3, 5], np.cos(3 / 10_000 ** (4 / 32)), rtol=1e-6)

# %% [markdown]
# ## One encoder layer, arrow by arrow
#
# The left grey box of Figure 1, from below. First multi-head self-attention:
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V
# \qquad (1)$$

# %%
block = model.encoder[0]
attention = layer["self_attention"]
queries = jnp.einsum("bsd,dhk->bshk", x, attention["query"])
keys, values = block.self_attention.keys_values(x)
scores = jnp.einsum("bthk,bshk->bhts", queries, keys) / np.sqrt(8)
weights = jax.nn.softmax(jnp.where(source_mask, scores, -jnp.inf), axis=-1)
heads = jnp.einsum("bhts,bshk->bthk", weights, values)
attended = jnp.einsum("bshk,hkd->bsd", heads, attention["output"])
describe("queries", queries, "B S H K", "x W^Q, all heads at once")
describe("keys, values", keys, "B S H K", "x W^K and x W^V")
describe("scores", scores, "B H S S", "every query with every key, divided by sqrt(K)")
describe("weights", weights, "B H S S", "softmax over the last axis; padding has 0")
describe("heads", heads, "B S H K", "weighted sums of the values")
describe("attended", attended, "B S D", "the heads joined by W^O")

from_module = block.self_attention(x, block.self_attention.keys_values(x), see_source)
np.testing.assert_allclose(attended, from_module, atol=1e-6)
np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
assert (weights * ~source_mask == 0).all()

# %% [markdown]
# Then Add & Norm, $\mathrm{LayerNorm}(x + \mathrm{Sublayer}(x))$; the feed-forward network, for
# each position by itself,
#
# $$\mathrm{FFN}(x) = \max(0,\, x W_1 + b_1)\, W_2 + b_2 \qquad (2)$$
#
# and Add & Norm once more. (Dropout would come before each addition. Here its rate is 0, as in
# `configs/demo.py`; the paper's is 0.1.)

# %%


def layer_norm(x, norm):
    """Zero mean and unit variance over D, then scale and bias."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / jnp.sqrt(variance + 1e-6) * norm["scale"] + norm["bias"]


feed_forward = layer["feed_forward"]
added = layer_norm(x + attended, layer["self_attention_residual"]["norm"])
hidden = jnp.maximum(0, added @ feed_forward["w1"] + feed_forward["b1"])
fed = hidden @ feed_forward["w2"] + feed_forward["b2"]
first_layer = layer_norm(added + fed, layer["feed_forward_residual"]["norm"])
describe("added", added, "B S D", "after the first Add & Norm")
describe("hidden", hidden, "B S F", "inside the feed-forward network, none below 0")
describe("fed", fed, "B S D", "its output")
describe("first_layer", first_layer, "B S D", "after the second Add & Norm")

np.testing.assert_allclose(first_layer, block(x, see_source), atol=1e-5)
print("\nThe library's EncoderLayer gives the same.")

# %% [markdown]
# The encoder is N such layers. Its output is called the *memory*. What stands in padding changes
# nothing in it: with other ids there, all real positions stay as they are.

# %%
memory = model.encode(jnp.asarray(batch.source), jnp.asarray(batch.source_segments))
describe("memory", memory, "B S D", "what the decoder will attend to")
np.testing.assert_allclose(memory, model.encoder[1](first_layer, see_source), atol=1e-5)

real = batch.source_segments > 0
other_padding = jnp.where(real, batch.source, 7)
again = model.encode(other_padding, jnp.asarray(batch.source_segments))
np.testing.assert_array_equal(again[real], memory[real])

# %% [markdown]
# ## The decoder
#
# The right grey box of Figure 1: masked self-attention, then attention whose queries come from the
# decoder and whose keys and values come from the memory, then feed-forward. Each is followed by
# Add & Norm. The library's modules have the names of the figure's boxes.

# %%
y = model.target_embedding(jnp.asarray(batch.target_in))
y = y + model.target_positions(batch.target_in.shape[1])
describe("y", y, "B T D", "embedded target_in, positions added")

for number, block in enumerate(model.decoder):
    own = block.self_attention(y, block.self_attention.keys_values(y), see_earlier)
    y = block.self_attention_residual.leave(y, own)
    of_memory = block.cross_attention.keys_values(memory)
    crossed = block.cross_attention(y, of_memory, see_source)
    y = block.cross_attention_residual.leave(y, crossed)
    y = block.feed_forward_residual.leave(y, block.feed_forward(y))
    if number == 0:
        describe("own", own, "B T D", "what self-attention found, to the left only")
        describe("memory's keys", of_memory.keys, "B S H K", "made once, for all target positions")
        describe("crossed", crossed, "B T D", "what cross-attention found in the source")
    describe(f"y, layer {number + 1}", y, "B T D", "the decoder layer's output")

decoded = model(
    *map(jnp.asarray, (batch.source, batch.source_segments)),
    *map(jnp.asarray, (batch.target_in, batch.target_segments)),
)
np.testing.assert_allclose(y, decoded, atol=1e-5)

# %% [markdown]
# ## Logits and probabilities
#
# The pre-softmax layer is $E$ once more (section 3.4): the logit of a word is the dot product of
# its row with the decoder's output.

# %%
logits = model.logits(y)
log_probs = jax.nn.log_softmax(logits)
describe("logits", logits, "B T V", "a number for every word at every position")
describe("log_probs", log_probs, "B T V", "their log softmax: of the next token")
np.testing.assert_allclose(logits, y @ E.T, atol=1e-4)
np.testing.assert_allclose(jnp.exp(log_probs).sum(-1), 1, rtol=1e-5)

# %% [markdown]
# ## Loss
#
# Label smoothing (section 5.4) takes $\epsilon = 0.1$ of the true word's probability and spreads
# it evenly over all V words:
#
# $$q(v) = (1 - \epsilon)\,[v = \text{true}] + \frac{\epsilon}{V}, \qquad
# \text{loss} = -\frac{1}{\text{tokens}} \sum_{\text{tokens}} \sum_v q(v) \log p(v)$$
#
# The mean is over the real tokens of the batch. Padding has no part in it.

# %%
epsilon = config.training.label_smoothing
true_word = jax.nn.one_hot(batch.target_out, tokenizer.vocab_size)
q = (1 - epsilon) * true_word + epsilon / tokenizer.vocab_size
is_token = jnp.asarray(batch.target_segments > 0)
token_losses = -(q * log_probs).sum(-1) * is_token
tokens = int(is_token.sum())
loss = token_losses.sum() / tokens
describe("q", q, "B T V", "the distribution that the model is to predict")
describe("token_losses", token_losses, "B T", "in nats; 0 in padding")
print(f"\n{tokens} tokens, loss {loss:.4f}; guessing evenly: log V = {np.log(SIZES['V']):.4f}")

# %% [markdown]
# `batch_loss` is what training calls. It never holds the logits of the whole batch, and gives sums
# instead of means, so that they can be added up over devices before the one division.

# %%
from transformer.training.step import batch_loss

on_device = jax.tree.map(jnp.asarray, batch)
sums = batch_loss(graphdef, params, on_device, label_smoothing=epsilon)
print("  ".join(f"{name} {value:.4f}" for name, value in sums._asdict().items()))
np.testing.assert_allclose(sums.loss / sums.tokens, loss, rtol=1e-5)
assert int(sums.tokens) == tokens

# %% [markdown]
# ## Gradient
#
# Reverse-mode differentiation gives the derivative of the loss by every parameter: arrays of the
# parameters' own shapes. One entry is checked by a finite difference.

# %%


@jax.jit
@jax.value_and_grad
def loss_and_gradient(params):
    """The loss as a function of the parameters, and its derivative."""
    sums = batch_loss(graphdef, params, on_device, label_smoothing=epsilon)
    return sums.loss / sums.tokens


value, gradient = loss_and_gradient(params)
np.testing.assert_allclose(value, loss, rtol=1e-5)
assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)

groups = {
    "embedding": gradient["target_embedding"],
    **{f"encoder layer {n + 1}": gradient["encoder"][n] for n in range(2)},
    **{f"decoder layer {n + 1}": gradient["decoder"][n] for n in range(2)},
}
for name, group in groups.items():
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(group)))
    print(f"{name:<16} norm of the gradient {norm:.4f}")

word, column, small = int(batch.target_out[0, 0]), 5, 1e-2


def loss_with(change):
    """The loss with one entry of E changed."""
    matrix = E.at[word, column].add(change)
    return float(loss_and_gradient(params | {"target_embedding": {"matrix": matrix}})[0])


difference = (loss_with(small) - loss_with(-small)) / (2 * small)
derivative = float(gradient["target_embedding"]["matrix"][word, column])
print(f"\nd loss / d E[{word}, {column}] = {derivative:.5f}, by differences {difference:.5f}")
np.testing.assert_allclose(difference, derivative, rtol=0.05, atol=1e-4)

# %% [markdown]
# ## Adam's update
#
# Section 5.3, with $\beta_1 = 0.9$, $\beta_2 = 0.98$, $\epsilon = 10^{-9}$ and gradient $g$:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2$$
#
# $$\theta \leftarrow \theta -
# lr\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$
#
# $$lr = d_{model}^{-0.5} \cdot \min(step^{-0.5},\; step \cdot warmup\_steps^{-1.5}) \qquad (3)$$
#
# At the first step $m/(1-\beta_1) = g$ and $v/(1-\beta_2) = g^2$. So every parameter moves by
# $lr$, in the direction opposite to its gradient's sign. (Where a gradient is 0, nothing moves.)

# %%
training = config.training
step = 1
rate = 32**-0.5 * min(step**-0.5, step * training.warmup_steps**-1.5)


def adam(theta, g):
    """The first update, of m = v = 0."""
    m = (1 - training.adam_b1) * g
    v = (1 - training.adam_b2) * g**2
    m_hat, v_hat = m / (1 - training.adam_b1**step), v / (1 - training.adam_b2**step)
    return theta - rate * m_hat / (jnp.sqrt(v_hat) + training.adam_eps)


by_hand = jax.tree.map(adam, params, gradient)
print(f"learning rate {rate:.3e}")
g, moved = gradient["encoder"][0]["feed_forward"]["w1"], by_hand["encoder"][0]["feed_forward"]["w1"]
for entry, change in zip(g[0, :4], (moved - layer["feed_forward"]["w1"])[0, :4], strict=True):
    print(f"an entry of W_1: gradient {entry:+.2e}, moves by {change:+.3e}")

# %% [markdown]
# The library's training step does all of the above in one compiled function of state and batch. It
# reuses the memory of the state that it is given.

# %%
from transformer.sharding import make_mesh
from transformer.training.optimizer import make_optimizer
from transformer.training.step import TrainState, make_init, make_train_step

one_device = make_mesh(dataclasses.replace(config.mesh, data=1), jax.devices()[:1])
shardings = make_init(config, tokenizer.vocab_size, one_device)[1]
train_step = make_train_step(config, tokenizer.vocab_size, one_device, shardings)

copied = jax.tree.map(jnp.copy, params)
moments = make_optimizer(training, d_model=32).init(copied)
state = TrainState(step=jnp.zeros((), jnp.int32), params=copied, opt_state=moments, ema=None)
state, metrics = train_step(state, on_device)
for name, value in metrics._asdict().items():
    print(f"{name:<14} {value:.6g}")
np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
np.testing.assert_allclose(metrics.learning_rate, rate, rtol=1e-6)

# Entries whose gradient is all but 0 may be rounded to either sign.
trees = jax.device_get((by_hand, state.params, gradient))
for mine, its, g in zip(*map(jax.tree.leaves, trees), strict=True):
    clear = np.abs(g) > 1e-6
    np.testing.assert_allclose(mine[clear], its[clear], atol=1e-6)
print("The parameters are those worked out by hand.")

# %% [markdown]
# ## And again
#
# The same batch over and over: the model learns four sentences by heart. The loss cannot fall to
# 0, for the smoothed target is no certainty. Its floor is the entropy of $q$.

# %%
losses = [float(metrics.loss)]
for _ in range(STEPS):
    state, metrics = train_step(state, on_device)
    losses.append(float(metrics.loss))

V = tokenizer.vocab_size
likely, rest = 1 - epsilon + epsilon / V, epsilon / V
floor = -likely * np.log(likely) - (V - 1) * rest * np.log(rest)

figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
axes.plot(losses, color="#0072b2", label="loss")
axes.axhline(floor, color="#d55e00", linestyle="--", label=f"entropy of q: {floor:.2f}")
axes.set(xlabel="step", ylabel="nats a token", ylim=(0, None), title="one batch, over and over")
axes.legend()
plt.show()

print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, accuracy {float(metrics.accuracy):.0%}")
assert floor < losses[-1] < losses[0]
if "NOTEBOOK_STEPS" not in os.environ:
    assert losses[-1] < floor + 0.1 and metrics.accuracy == 1

# %% [markdown]
# The whole story is in `transformer/training/loop.py`: batches come from `transformer/data/`, the
# step is the one above, and what it makes is saved, translated with and scored. The notebook
# `quickstart` runs it.
