# %% [markdown]
# # Attention by hand
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/arithmetic.ipynb)
#
# Scaled dot-product attention and multi-head attention (section 3.2 of [Attention Is All You
# Need](https://arxiv.org/abs/1706.03762)), first on small integers and then on "The cat sat on the
# mat". Every number is worked out step by step and checked by an assertion. At the end of each
# part the library's own function is given the same numbers. The last part makes the common
# mistakes on purpose, and shows what each does. It runs in seconds.

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

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from tabulate import tabulate

np.set_printoptions(precision=4, suppress=True)


def table(name, array, rows, columns=None):
    """Prints a matrix with its shape, and names for its rows and columns."""
    sizes = " x ".join(map(str, array.shape))
    digits = "g" if np.allclose(array, np.round(array)) else ".4f"
    print(f"{name}   [{sizes}]")
    style = "simple" if columns else "plain"
    print(tabulate(array, columns or (), style, floatfmt=digits, showindex=list(rows)), "\n")


# %% [markdown]
# ## 1. One head on small integers
#
# Equation 1 of the paper:
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V$$
#
# Three tokens *a*, *b*, *c*, each a vector of four numbers, are the rows of $X$. Shapes are
# written in the letters of the whole code base: T queries, S keys, D = $d_{model}$, H heads, K =
# $d_k = d_v$, the size of a head. Here the queries and the keys are the same tokens
# (self-attention), so T = S = 3. D = 4 and K = 4, so that $\sqrt{d_k} = 2$.

# %%
tokens = ["a", "b", "c"]
X = np.array([[1, 0, 1, 0], [0, 2, 0, 1], [1, 1, 0, 0]])  # [T D]
W_Q = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]])  # [D K]
W_K = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]])
W_V = np.array([[1, 0, 2, 0], [0, 1, 0, 0], [3, 0, 0, 1], [0, 2, 1, 0]])
table("X", X, tokens)

# %% [markdown]
# ### Projections
#
# $Q = X W^Q$, $K = X W^K$, $V = X W^V$. Token *a* is $(1, 0, 1, 0)$: its query is the first row of
# $W^Q$ plus the third, $(1, 0, 1, 0) + (1, 0, 0, 1) = (2, 0, 1, 1)$.

# %%
Q, K, V = X @ W_Q, X @ W_K, X @ W_V  # [T K], [S K], [S K]
table("Q = X W^Q", Q, tokens)
table("K = X W^K", K, tokens)
table("V = X W^V", V, tokens)
assert Q.tolist() == [[2, 0, 1, 1], [0, 2, 1, 0], [1, 1, 1, 0]]
assert K.tolist() == [[0, 2, 1, 1], [3, 0, 0, 0], [1, 1, 0, 1]]
assert V.tolist() == [[4, 0, 2, 1], [0, 4, 1, 0], [1, 1, 2, 0]]

# %% [markdown]
# ### Scores
#
# $Q K^\top$ holds the dot product of every query with every key: row *t*, column *s* says how well
# key *s* answers query *t*. Of *a* and *b*: $2 \cdot 3 + 0 \cdot 0 + 1 \cdot 0 + 1 \cdot 0 = 6$.
# Dividing by $\sqrt{d_k} = 2$ gives the scaled scores.

# %%
products = Q @ K.T  # [T S]
scores = products / np.sqrt(4)
table("Q K^T", products, tokens, tokens)
table("Q K^T / sqrt(d_k)", scores, tokens, tokens)
assert products.tolist() == [[2, 6, 3], [5, 0, 2], [3, 3, 2]]
assert scores.tolist() == [[1, 3, 1.5], [2.5, 0, 1], [1.5, 1.5, 1]]

# %% [markdown]
# ### The softmax, row by row
#
# $$w_{ts} = \frac{e^{x_{ts}}}{\sum_{s'} e^{x_{ts'}}}$$
#
# Each **row** is exponentiated and divided by its own sum. So each query has weights that are
# positive and sum to one. (Programs subtract the row's largest score first. That multiplies
# numerator and denominator by the same number, and keeps $e^x$ from overflowing.)

# %%
weights = np.zeros((3, 3))  # [T S]
for t, token in enumerate(tokens):
    exponentials = np.exp(scores[t])
    weights[t] = exponentials / exponentials.sum()
    print(f"query {token}: scores", scores[t], " e^score", exponentials)
    print(f"         sum {exponentials.sum():.4f}  weights", weights[t], "\n")

np.testing.assert_allclose(weights[0], [0.0996, 0.7361, 0.1643], atol=5e-5)
np.testing.assert_allclose(weights[1], [0.7662, 0.0629, 0.1710], atol=5e-5)
np.testing.assert_allclose(weights[2], [0.3837, 0.3837, 0.2327], atol=5e-5)
np.testing.assert_allclose(weights.sum(axis=1), 1)

# %% [markdown]
# ### The weighted sum
#
# Each output is the mean of the values under the weights of its query:
#
# $$o_a = 0.0996\,(4, 0, 2, 1) + 0.7361\,(0, 4, 1, 0) + 0.1643\,(1, 1, 2, 0)$$

# %%
output = weights @ V  # [T K]
table("softmax(Q K^T / sqrt(d_k)) V", output, tokens)
first = weights[0, 0] * V[0] + weights[0, 1] * V[1] + weights[0, 2] * V[2]
np.testing.assert_allclose(output[0], first)
np.testing.assert_allclose(output[0], [0.5627, 3.1087, 1.2639, 0.0996], atol=1e-4)
assert (output >= V.min(axis=0)).all() and (output <= V.max(axis=0)).all()  # a mean: inside

# %% [markdown]
# The library's function takes any leading axes and an axis of heads, [T H K]. Here H = 1.

# %%
from transformer.model.attention import dot_product_attention

one_head = [jnp.asarray(a, jnp.float32)[:, None] for a in (Q, K, V)]  # [T H K], H = 1
np.testing.assert_allclose(dot_product_attention(*one_head)[:, 0], output, rtol=1e-6)
print("dot_product_attention gives the same.")

# %% [markdown]
# ## 2. Two heads on "The cat sat on the mat"
#
# Now tokens have features that can be named. A trained model's features have no names, but are
# used in the same way. D = 8, H = 2 heads, and K = D / H = 4 as in section 3.2.2.

# %%
sentence = "The cat sat on the mat".split()
features = ["article", "capital", "noun", "alive", "place", "verb", "prep.", "word"]
has = {
    "The": ["article", "capital", "word"],
    "the": ["article", "word"],
    "cat": ["noun", "alive", "word"],
    "sat": ["verb", "word"],
    "on": ["prep.", "word"],
    "mat": ["noun", "place", "word"],
}
X = np.array([[int(f in has[token]) for f in features] for token in sentence])  # [T D]
table("X", X, sentence, features)

# %% [markdown]
# A head is three matrices [D K]. Here they are written as "feature to channel: number", and all
# other entries are 0. Keys and values are four of the features as they stand. The queries make the
# heads:
#
# - **Head 1**: the verb looks for who acts, the preposition for a place. "sat" asks for *alive*
#   with strength 6, and "cat" answers with 1.
# - **Head 2**: articles look for nouns, and nouns for articles.

# %%
channels = [["alive", "place", "noun", "verb"], ["noun", "article", "verb", "prep."]]


def matrix(head, entries):
    """[D K] from {(feature, channel): number}."""
    filled = np.zeros((len(features), 4), int)
    for (feature, channel), number in entries.items():
        filled[features.index(feature), channels[head].index(channel)] = number
    return filled


W_Q = [
    matrix(0, {("verb", "alive"): 6, ("prep.", "place"): 6}),
    matrix(1, {("article", "noun"): 6, ("noun", "article"): 6}),
]
W_K = [matrix(h, {(channel, channel): 1 for channel in channels[h]}) for h in range(2)]
W_V = W_K
W_O = np.eye(8, dtype=int)  # [(H K) D]

# %% [markdown]
# The row of "sat" in head 1, by hand: the query is $(6, 0, 0, 0)$. Only the key of "cat" has a 1
# in the first channel, so the scores are $6 / \sqrt 4 = 3$ for "cat" and 0 for the five others.
# The weights are $e^3 = 20.09$ and five times $e^0 = 1$, divided by their sum 25.09: 0.8007 for
# "cat" and 0.0399 for each other token.

# %%


def attend(Q, K, V):
    """Equation 1 for one head: weights [T S] and output [T K]."""
    scores = Q @ K.T / np.sqrt(Q.shape[-1])
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    return weights, weights @ V


heads, maps = [], []
for h in range(2):
    weights, output = attend(X @ W_Q[h], X @ W_K[h], X @ W_V[h])
    table(f"head {h + 1}: weights", weights, sentence, sentence)
    maps.append(weights)
    heads.append(output)

sat, cat = sentence.index("sat"), sentence.index("cat")
np.testing.assert_allclose(maps[0][sat, cat], 20.0855 / 25.0855, rtol=1e-5)
np.testing.assert_allclose(maps[0][sat, 0], 0.0399, atol=5e-5)

# %%


def draw(axes, weights, title, words=sentence):
    """A map of weights: queries down, keys across."""
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for t, row in enumerate(weights):
        for s, weight in enumerate(row):
            colour = "white" if weight > 0.5 else "black"
            axes.text(s, t, f"{weight:.2f}", ha="center", va="center", color=colour, size=9)
    axes.set_xticks(range(len(words)), words)
    axes.set_yticks(range(len(words)), words)
    axes.set(xlabel="key", ylabel="query", title=title)


figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
draw(panels[0], maps[0], "head 1: who, and where")
draw(panels[1], maps[1], "head 2: articles and nouns")
plt.show()

# %% [markdown]
# Three things to see:
#
# - A token whose query is zero ("cat" in head 1) scores every key alike, and gets the plain mean.
# - "The" and "the" look at **both** nouns with 0.45. Nothing in these vectors says which noun
#   stands next to which article: attention does not see order. That is what positional encodings
#   add (section 3.5).
# - Each row sums to one. Columns need not: "cat" is looked at a lot, "on" hardly.
#
# ### Concatenation and $W^O$
#
# $$\mathrm{MultiHead}(X) = \mathrm{Concat}(head_1, head_2)\, W^O, \qquad
# head_i = \mathrm{Attention}(X W_i^Q, X W_i^K, X W_i^V)$$
#
# The heads' outputs stand side by side, [T H K] = [6 2 4], joined to [T 8]. $W^O$ maps them back
# to D numbers. It is the identity here, so that each column can be read: the first four are what
# head 1 found, the last four what head 2 found.

# %%
joined = np.concatenate(heads, axis=-1)  # [T (H K)]
multi_head = joined @ W_O  # [T D]
found = [f"{channel} ({h + 1})" for h in range(2) for channel in channels[h]]
table("MultiHead(X)", multi_head, sentence, found)
np.testing.assert_allclose(multi_head[sat, 0], 0.8007, atol=5e-5)  # "sat" has found who is alive
np.testing.assert_allclose(multi_head[sat, 2], 0.8007 + 0.0399, atol=2e-4)  # and both nouns

# %% [markdown]
# The library's module holds the matrices of all heads in one array each: $W^Q$, $W^K$ and $W^V$
# are [D H K], $W^O$ is [H K D]. It multiplies with all heads at once. Given the numbers above it
# gives the output above.

# %%
import dataclasses

from flax import nnx

from configs import demo
from transformer import config as config_lib
from transformer.model.attention import MultiHeadAttention
from transformer.model.visibility import Visibility

model_config = dataclasses.replace(
    config_lib.from_dict(demo.get_config()).model, d_model=8, num_heads=2, d_k=4, d_v=4
)
module = MultiHeadAttention(model_config, nnx.Rngs(0))
module.query[...] = jnp.stack(W_Q, axis=1).astype(jnp.float32)  # [D H K]
module.key[...] = jnp.stack(W_K, axis=1).astype(jnp.float32)
module.value[...] = jnp.stack(W_V, axis=1).astype(jnp.float32)
module.output[...] = jnp.asarray(W_O.reshape(2, 4, 8), jnp.float32)  # [H K D]

x = jnp.asarray(X, jnp.float32)[None]  # [B T D], B = 1
everything = Visibility()  # no padding, and later tokens may be seen
from_library = module(x, module.keys_values(x), everything)[0]
np.testing.assert_allclose(from_library, multi_head, atol=1e-6)
print("MultiHeadAttention gives the same:", from_library.shape, "[T D]")

# %% [markdown]
# A decoder hides the keys that stand later (section 3.2.3): their scores become $-\infty$, so
# their weights $e^{-\infty}$ are 0, and the others of the row sum to one again.

# %%
sees = np.tril(np.ones((6, 6), bool))  # [T S], True = may attend
scores = np.where(sees, X @ W_Q[1] @ (X @ W_K[1]).T / 2, -np.inf)
masked = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
table("head 2, masked", masked, sentence, sentence)
np.testing.assert_allclose(masked[0], [1, 0, 0, 0, 0, 0])  # the first token sees itself alone

no_later = module(x, module.keys_values(x), Visibility(causal=True))[0]
np.testing.assert_allclose(no_later[:, 4:], masked @ (X @ W_V[1]), atol=1e-6)

# %% [markdown]
# ## 3. Common mistakes, and what they do
#
# None of these raises an error. Only the numbers show them.
#
# ### The softmax of the projections
#
# $\mathrm{softmax}(Q)\,\mathrm{softmax}(K)^\top V$: the softmax is taken of queries and keys, and
# not of their products. The "weights" of a query then need not sum to one, and they hardly differ:
# products of two probability vectors lie between 0 and 1, and nothing exponentiates them.

# %%


def softmax(x, axis=-1):
    """Exponentials, divided by their sum along `axis`."""
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


Q, K, V = X @ W_Q[0], X @ W_K[0], X @ W_V[0]
right = attend(Q, K, V)[0]
of_projections = softmax(Q) @ softmax(K).T
figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
draw(panels[0], right, "head 1: softmax of the scores")
draw(panels[1], of_projections, "mistake: softmax of Q and of K")
plt.show()
print("sums of the rows:", right.sum(axis=1), "and with the mistake:", of_projections.sum(axis=1))
assert np.allclose(right.sum(axis=1), 1) and of_projections.sum(axis=1).min() > 1.2
assert right[sat].max() / right[sat].min() > 20  # e^3: "cat" stands out
assert of_projections[sat].max() / of_projections[sat].min() < 3  # and here it hardly does

# %% [markdown]
# ### The softmax along the wrong axis
#
# `softmax(scores, axis=0)` normalises the **columns**: each key shares itself out among the
# queries. A query then gets whatever is left for it, and its weights have no fixed sum.

# %%
wrong_axis = softmax(Q @ K.T / 2, axis=0)
table("softmax over the queries", wrong_axis, sentence, sentence)
print("sums of the rows:", wrong_axis.sum(axis=1))
assert np.allclose(wrong_axis.sum(axis=0), 1) and not np.allclose(wrong_axis.sum(axis=1), 1)

# %% [markdown]
# ### No scaling
#
# If the entries of a query and a key are independent with mean 0 and variance 1, their dot product
# $\sum_{i=1}^{d_k} q_i k_i$ has mean 0 and variance $d_k$ (the paper's footnote 4). Without the
# division by $\sqrt{d_k}$ the scores of a wide head are large, and the softmax gives nearly all
# the weight to one key. Two numbers say so:
#
# - its entropy $-\sum_s w_s \log w_s$, which is $\log S$ for equal weights and 0 for a single key;
# - its slope: $\partial w_s / \partial x_s = w_s (1 - w_s)$. Where $w$ is close to 0 or 1 the
#   gradient that reaches queries and keys vanishes.

# %%
S = 32
sizes = 2 ** np.arange(0, 11)  # d_k = 1, 2, 4, ... 1024


def entropy_and_slope(scores):
    """Means over the queries: entropy of the weights, and the sum over S of w (1 - w)."""
    weights = softmax(scores)
    entropy = -(weights * np.log(weights)).sum(axis=-1)
    return entropy.mean(), (weights * (1 - weights)).sum(axis=-1).mean()


rng = np.random.default_rng(0)
scaled, unscaled = [], []
for d_k in sizes:
    q = rng.normal(size=(200, 1, d_k))
    k = rng.normal(size=(200, S, d_k))  # each of 200 queries has keys of its own
    dots = (q * k).sum(axis=-1)
    unscaled.append(entropy_and_slope(dots))
    scaled.append(entropy_and_slope(dots / np.sqrt(d_k)))

figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
names = ["entropy of the weights, in nats", r"slope of the weights, $\sum_s w_s (1 - w_s)$"]
for column, (panel, name) in enumerate(zip(panels, names, strict=True)):
    with_scale = np.array(scaled)[:, column]
    panel.plot(sizes, with_scale, "o-", color="#0072b2", label=r"scores divided by $\sqrt{d_k}$")
    panel.plot(sizes, np.array(unscaled)[:, column], "s--", color="#d55e00", label="no scaling")
    panel.set_xscale("log", base=2)
    panel.set(xlabel="$d_k$", title=name, ylim=(0, None))
panels[0].axhline(np.log(S), color="grey", linewidth=1)
panels[0].text(1024, np.log(S) + 0.06, f"log {S}: all keys alike", color="#555555", ha="right")
panels[0].set_ylim(0, 3.9)
panels[1].legend(loc="center right", bbox_to_anchor=(1, 0.7))
plt.show()

at_64 = list(sizes).index(64)
print(f"d_k = 64, as in the base model, {S} keys:")
print(f"  scaled:   entropy {scaled[at_64][0]:.2f}, slope {scaled[at_64][1]:.2f}")
print(f"  unscaled: entropy {unscaled[at_64][0]:.2f}, slope {unscaled[at_64][1]:.2f}")
assert scaled[at_64][0] > 2.8 and unscaled[at_64][0] < 0.7
assert scaled[-1][0] > 2.8 and unscaled[-1][0] < 0.2  # scaled: the same whatever the width

# %% [markdown]
# ### A norm instead of a sum
#
# In the denominator: $e^{x_s}$ divided by the row's length $\sqrt{\sum e^{2 x_{s}}}$ instead of
# its sum. The weights are then a unit vector, not probabilities. With S equal scores each is $1 /
# \sqrt S$, and they sum to $\sqrt S$: outputs grow with the sentence.
#
# In place of the weighted sum: $\sqrt{\sum_s (w_s v_s)^2}$ instead of $\sum_s w_s v_s$. A norm is
# never negative, so all signs are lost, and opposite values no longer cancel.

# %%
for S in (4, 16, 64):
    equal = np.exp(np.zeros(S))
    by_norm = equal / np.linalg.norm(equal)
    print(f"{S:2} equal scores: weights {by_norm[0]:.4f} each, sum {by_norm.sum():.1f}")
    np.testing.assert_allclose(by_norm.sum(), np.sqrt(S))

w = np.array([0.5, 0.5])  # two keys with the same weight
v = np.array([[3.0, -2.0], [-3.0, -2.0]])  # [S K]: opposite in the first number
weighted_sum = w @ v
weighted_norm = np.linalg.norm(w[:, None] * v, axis=0)
print("\nweighted sum", weighted_sum, "  norm instead", weighted_norm)
np.testing.assert_allclose(weighted_sum, [0, -2])
np.testing.assert_allclose(weighted_norm, [np.sqrt(4.5), np.sqrt(2)])

# %% [markdown]
# ## What to take along
#
# Projections, products, one division, a softmax per row, a weighted mean. Two checks would have
# caught all mistakes but one: the weights of a query sum to one, and the output lies between the
# smallest and the largest value. The missing scale passes both. Only known numbers, like those of
# part 1, show it.
