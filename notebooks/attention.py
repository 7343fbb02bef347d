# %% [markdown]
# # Attention, looked at
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/attention.ipynb)
#
# A small model learns to reverse sequences, and its cross-attention runs along the other diagonal.
# Then a translation model shows every attention that it has for your own sentence, layer by layer
# and head by head, as in the paper's Figures 3 to 5. The alignment of words that can be read off
# cross-attention is scored against the true one. In the end heads are silenced, to see what a
# single one does. Most of its few minutes go to training the translation model.

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
# Shapes are written in one alphabet: B batch, S source length, T target length, D $d_{model}$,
# H heads, K size of a head, V vocabulary, N layers. Attention is equation 1,
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^T}{\sqrt{d_k}}\right)V .$$
#
# The softmax is the matrix that this notebook draws. Its rows are queries, the tokens that look.
# Its columns are keys, the tokens that are looked at. Each row sums to 1.

# %%
STEPS = int(os.environ.get("NOTEBOOK_STEPS", 1_500))  # of the translation model
TRAINED = "NOTEBOOK_STEPS" not in os.environ
RUN = ""  # the folder of a run that you have trained, "runs/demo" say; "" trains one below
SENTENCE = "The old teacher forgot our ticket and you do not stand next to the station."

# %% [markdown]
# ## Reversal
#
# The source is four to eight different letters, and the target the same letters from the last to
# the first. The model has N = 1 layer and H = 1 head, so that there is a single cross-attention to
# look at. Nothing tells it where to look.

# %%
import dataclasses

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

from configs import base
from transformer import config as config_lib
from transformer.data.batching import Batch
from transformer.data.tokenizer import BOS, EOS, PAD
from transformer.model.encoder_decoder import Transformer, split
from transformer.model.recording import record
from transformer.training.step import batch_loss

plt.switch_backend("module://matplotlib_inline.backend_inline")  # figures as a cell's result
LETTERS = "abcdefghijkl"
FIRST = 4  # the ids below are PAD, BOS, EOS and UNK
LONGEST = 8


def draw(random, rows):
    """A batch of sequences and their reversals, ids [B S] with S = T = LONGEST + 1."""
    source = np.full((rows, LONGEST + 1), PAD, np.int32)
    target = source.copy()
    for row, length in enumerate(random.integers(4, LONGEST + 1, rows)):
        ids = FIRST + random.permutation(len(LETTERS))[:length]
        source[row, : length + 1] = [*ids, EOS]
        target[row, : length + 1] = [*ids[::-1], EOS]
    target_in = np.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    segments = [(ids != PAD).astype(np.int32) for ids in (source, target)]
    return Batch(source, segments[0], None, target_in, target, segments[1], None)


def spell(ids):
    """Ids as letters."""
    return ["</s>" if i == EOS else LETTERS[i - FIRST] for i in ids if i != PAD]


example = draw(np.random.default_rng(1), 1)
print("source", *spell(example.source[0]))
print("target", *spell(example.target_out[0]))

# %% [markdown]
# The training step is written out: the loss of a batch, its gradient, Adam. `batch_loss` is the
# function that the library's own training step calls.

# %%
config = dataclasses.replace(
    config_lib.from_dict(base.get_config()).model,
    num_layers=1, num_heads=1, d_model=64, d_k=64, d_v=64, d_ff=128, dropout_rate=0.0,
)  # fmt: skip
graphdef, params = split(Transformer(config, FIRST + len(LETTERS), nnx.Rngs(0)))
optimizer = optax.adam(3e-3, b2=0.98)


def mean_loss(params, batch):
    sums = batch_loss(graphdef, params, batch)
    return sums.loss / sums.tokens


@jax.jit
def train_step(params, state, batch):
    loss, gradient = jax.value_and_grad(mean_loss)(params, batch)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, loss


random, state = np.random.default_rng(0), optimizer.init(params)
for step in range(401):
    params, state, loss = train_step(params, state, draw(random, 64))
    if step % 100 == 0:
        print(f"step {step:3}  loss {loss:.3f} nats a token")

# %% [markdown]
# `record` runs any call of the model and returns what it computed on its way: the weights of every
# attention, and the states between the layers. To write the first letter of the target the model
# must read the last of the source. So the weights stand on the diagonal from the upper right to
# the lower left.

# %%
from transformer.visualization import figures


@jax.jit
def look(params, batch):
    model = nnx.merge(graphdef, params)
    inputs = batch.source, batch.source_segments, batch.target_in, batch.target_segments
    return record(Transformer.__call__, model, *inputs)[1]


held_out = draw(np.random.default_rng(1), 64)
weights = np.asarray(look(params, held_out).cross_attention[0])  # layer 1: [B H T S]
longest = int((held_out.source > PAD).sum(1).argmax())
words = [spell(ids[longest]) for ids in (held_out.target_out, held_out.source)]
figures.attention_map(weights[longest, 0], *words, title="Cross-attention of the reversal")

# %%
right = []
for row, ids in enumerate(held_out.source):
    letters = (ids >= FIRST).sum()
    looked_at = weights[row, 0, :letters].argmax(-1)
    right += list(looked_at == np.arange(letters)[::-1])
print(f"{np.mean(right):.1%} of {len(right)} letters look most at the letter that they repeat")
assert np.mean(right) > 0.9

# %% [markdown]
# ## A translation model
#
# It has N = 2 layers with H = 4 heads of K = 32, D = 128, and learns the built-in English-German
# grammar (`configs/demo.py`). If you have a run already, name its folder in `RUN` above, and this
# cell takes seconds instead of minutes.

# %%
import tempfile

from transformer.training.load import load

if not RUN:
    RUN = tempfile.mkdtemp(prefix="attention-")
    command = [
        "experiments/train.py", "--config=configs/demo.py", f"--workdir={RUN}",
        f"--config.training.num_steps={STEPS}", f"--config.training.eval_every={STEPS}",
        "--config.training.warmup_steps=300", "--config.data.validation_pairs=50",
        f"--config.training.checkpoint_every={max(1, STEPS // 50)}",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(*done.stderr.splitlines()[-2:], sep="\n")
model = load([RUN])
print(model.translate([SENTENCE])[0].text)

# %% [markdown]
# `inspect` translates, and then reads the sentence and its translation in one pass (teacher
# forcing), which gives the same weights as the cached steps of decoding. Change `SENTENCE` above
# and run from there.

# %%
(seen,) = model.inspect([SENTENCE])
print("source tokens ", *seen.source_tokens)
print("target inputs ", *seen.target_inputs)
print("target tokens ", *seen.target_tokens)
for name, letters in {
    "encoder_attention": "N H S S", "decoder_attention": "N H T T", "cross_attention": "N H T S",
    "encoder_states": "N+1 S D", "decoder_states": "N+1 T D", "token_log_probs": "T",
}.items():  # fmt: skip
    print(f"{name:<18} [{letters}] = {list(getattr(seen, name).shape)}")

# %% [markdown]
# "▁" is SentencePiece's sign for a space: a piece without it goes on with a word. The drawings
# leave it out and mark such pieces with a dot. Each position of the decoder reads a target input
# and predicts a target token. First what must hold of every attention: rows sum to 1, and the
# decoder does not see what comes later (section 3.2.3).

# %%
for kind in ("encoder", "decoder", "cross"):
    np.testing.assert_allclose(seen.attention(kind).sum(-1), 1, rtol=1e-4)
assert (np.triu(seen.decoder_attention, k=1) == 0).all()

# %% [markdown]
# And equation 1 by hand, for head 1 of the encoder's layer 1. Its queries and keys are projections
# of the embedded tokens: $q_i = x_i W^Q$ and $k_j = x_j W^K$, with $W^Q$ and $W^K$ of [D K].

# %%
first = model.params["encoder"][0]["self_attention"]
x = seen.encoder_states[0]  # [S D]
q, k = (x @ np.asarray(first[name])[:, 0] for name in ("query", "key"))  # [S K]
scores = np.exp(q @ k.T / np.sqrt(k.shape[-1]))
np.testing.assert_allclose(
    scores / scores.sum(-1, keepdims=True), seen.encoder_attention[0, 0], atol=1e-4
)
print("softmax(q k^T / sqrt(K)) equals the recorded weights")

# %% [markdown]
# ## Every head of every layer
#
# Small maps first: rows are queries, columns are keys. In the **encoder** any token may look at
# any other.

# %%
figures.layer_maps(seen.encoder_attention, "Encoder self-attention")

# %% [markdown]
# In the **decoder** a token sees itself and what was written before it.

# %%
figures.layer_maps(seen.decoder_attention, "Decoder self-attention")

# %% [markdown]
# **Cross-attention** looks from the target to the source. Where the order of words is the same in
# both languages, the weights follow the diagonal.

# %%
figures.layer_maps(seen.cross_attention, "Cross-attention")

# %% [markdown]
# The last layer's cross-attention with its words. "forgot" becomes "hat ... vergessen", two words
# far apart: both look at the same word of the source.

# %%
figures.head_maps(
    seen.cross_attention[-1], *seen.tokens("cross"), "Cross-attention, last layer", columns=2
)

# %% [markdown]
# The mean of these heads, and the same as lines, after the paper's Figures 3 to 5. Each head has a
# colour, and a line is as strong as its weight.

# %%
figures.attention_map(
    seen.cross_attention[-1].mean(0), *seen.tokens("cross"), "Cross-attention, mean of heads"
)

# %%
figures.attention_lines(
    seen.cross_attention[-1], *seen.tokens("cross"), title="Cross-attention, last layer"
)

# %% [markdown]
# For a page to click through, with any number of sentences:
# `python experiments/translate.py --workdir=RUN --attention=attention.html`.
#
# ## Alignment
#
# The grammar knows which German word stands for which English one. Attention was never told. Each
# German word is linked to the English word that it looks at most, where a word of several pieces
# takes the mean over its own and gives the sum of its pieces. With A the links found and S the
# true ones the alignment error rate (Och and Ney 2003) is
#
# $$\mathrm{AER} = 1 - \frac{2\,|A \cap S|}{|A| + |S|} .$$
#
# The sentences are held out, and read with their true translations.

# %%
from transformer.data.grammar import derivations
from transformer.evaluation.alignment import error_rates

PAIRS = 200 if TRAINED else 10
drawn = derivations("test", PAIRS, model.config.seed)
looked = model.inspect([one.english for one in drawn], [one.german for one in drawn])
rates = error_rates(looked, drawn)  # [N 1 + H]
print("AER     ", "mean of heads", *(f"head {h + 1}" for h in range(rates.shape[1] - 1)), sep="  ")
for layer, row in enumerate(rates, start=1):
    print(f"layer {layer} ", f"{row[0]:13.1%}", *(f"{rate:6.1%}" for rate in row[1:]), sep="  ")
if TRAINED and model.config.data.source == "grammar":  # other text taught other words
    assert rates.min() < 0.35

# %% [markdown]
# Attention is no alignment by design: a head is free to look where it likes, and the first layer
# mostly does. One pair with its true links, drawn as lines at the left, and what the best row of
# the table makes of it:

# %%
one, seen_one = drawn[0], looked[0]
layer, head = np.unravel_index(rates.argmin(), rates.shape)
best = seen_one.cross_attention[layer]
best = best.mean(0) if head == 0 else best[head - 1]
true = np.zeros((1, len(one.german_words), len(one.english_words)), np.float32)
for english, german in one.alignment:
    true[0, german, english] = 1
size = 10, 0.26 * best.shape[0] + 0.8
figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained")
figures.attention_lines(true, one.german_words, one.english_words, title="true links", axes=left)
figures.attention_lines(
    best[None], *seen_one.tokens("cross"), title=f"attention, layer {layer + 1}", axes=right
)
plt.show()

# %% [markdown]
# ## A head on its own
#
# $\mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(\mathrm{head}_1, \ldots, \mathrm{head}_h) W^O$ is a
# sum over the heads, each through its own K rows of $W^O$. Zeros in these rows silence a head, and
# nothing else is touched: `keep_heads` makes such parameters. Below, the loss of the held-out pairs
# with a single head of the last layer's cross-attention left, and with that head alone taken out.

# %%
from transformer.decoding.inspection import keep_heads

FEW = drawn[: PAIRS // 4]
LAYER = rates.shape[0] - 1
HEADS = range(rates.shape[1] - 1)


def loss_with(heads):
    """Nats a token, with only `heads` of the last layer's cross-attention."""
    changed = model._replace(params=keep_heads(model.params, "cross", LAYER, heads))
    scored = changed.score([one.english for one in FEW], [one.german for one in FEW])
    return -np.concatenate([log_probs for _, log_probs in scored]).mean()


whole = loss_with(HEADS)
none = loss_with([])
alone = [loss_with([head]) for head in HEADS]
without = [loss_with(set(HEADS) - {head}) for head in HEADS]
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
places = np.arange(len(HEADS))
axes.bar(places - 0.2, alone, 0.38, color="#0072b2", label="this head alone")
axes.bar(places + 0.2, without, 0.38, color="#e69f00", label="all but this head")
axes.axhline(whole, color="black", lw=1, label="all heads")
axes.axhline(none, color="black", lw=1, ls=":", label="no head")
axes.set_xticks(places, [f"head {head + 1}" for head in HEADS])
axes.set_ylabel("nats a token")
axes.set_title(f"Cross-attention of layer {LAYER + 1}")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
plt.show()

# %% [markdown]
# What is translated with a single head left:

# %%
print(f"{'all heads':<10}{model.translate([SENTENCE])[0].text}")
for head in HEADS:
    changed = model._replace(params=keep_heads(model.params, "cross", LAYER, [head]))
    print(f"{'head ' + str(head + 1):<10}{changed.translate([SENTENCE])[0].text}")

# %% [markdown]
# The weights of the heads that are left do not change, for each head works on its own. What
# changes is the sum that goes on to the feed-forward layer, which learnt to expect all of them.
# The notebook `arithmetic` computes that sum by hand; `decoding` looks at the search.
