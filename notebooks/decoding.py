# %% [markdown]
# # Decoding: the beam as a tree, length penalty, sampling, search errors
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/decoding.ipynb)
#
# A trained Transformer gives a probability to every possible translation. Decoding has to pick
# one. Here a small model is trained in about a minute, and then its beam search is drawn as a tree:
# which continuations it kept, which it dropped, and why one hypothesis won. You will see what the
# length penalty does, when a search may safely stop, how greedy search, beam search and sampling
# differ in BLEU and in probability, and how to tell an error of the search from an error of the
# model.

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
# ## A small model
#
# One layer, $d_{model} = 96$, on the built-in English-German grammar: random sentences, each with
# exactly one right translation. It is stopped before it is good, so that there is something
# to search for.

# %%
import collections
import dataclasses
import math

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from configs import demo
from transformer import config as config_lib
from transformer.data import grammar
from transformer.decoding.beam import length_penalty
from transformer.decoding.beam_tree import explore
from transformer.decoding.forced import ForcedScorer
from transformer.decoding.translate import Translator
from transformer.evaluation.bleu import corpus_bleu
from transformer.model.encoder_decoder import split
from transformer.sharding import make_mesh, put_batch
from transformer.training.prepare import prepare_data
from transformer.training.step import (
    abstract_model,
    decoding_params,
    make_init,
    make_train_step,
)
from transformer.visualization.beam_tree import draw_beam_tree

STEPS = int(os.environ.get("NOTEBOOK_STEPS", 1400))
TRAINED = "NOTEBOOK_STEPS" not in os.environ  # some checks hold only for a model that has learnt
plt.switch_backend(plt.get_backend())  # loads it: figures made without pyplot show, too

changes = demo.get_config()
changes.model.update(num_layers=1, d_model=96, d_ff=384)
changes.data.update(grammar_pairs=20_000, vocab_size=2_000)
changes.training.update(warmup_steps=250, ema_decay=0.99)
changes.decoding.update(beam_size=4, alpha=0.6, max_extra_length=8)
config = config_lib.from_dict(changes)

# %%
mesh = make_mesh(config.mesh)
with jax.set_mesh(mesh):
    data, tokenizer = prepare_data(config, None, 8, print)
    init, shardings = make_init(config, tokenizer.vocab_size, mesh)
    train_step = make_train_step(config, tokenizer.vocab_size, mesh, shardings)
    state = init()
    batches = data.iterator()
    for step in range(1, STEPS + 1):
        state, metrics = train_step(state, put_batch(mesh, next(batches)))
        if step % 200 == 0 or step == STEPS:
            print(f"step {step}: {metrics.nll:.3f} nats a token, accuracy {metrics.accuracy:.1%}")

graphdef = split(abstract_model(config.model, tokenizer.vocab_size))[0]
params = decoding_params(state)  # the moving average of the weights

# %% [markdown]
# The sentences below are from the grammar's test split, which training never shows. Those of 9 to
# 16 tokens are taken: their trees fit on a page, and all arrays have one shape, so that each
# program is compiled once.


# %%
def length(text):
    """Tokens, the end token included."""
    return len(tokenizer.encode([text])[0]) + 1


test = [
    p for p in zip(*grammar.pairs("test", 150), strict=True) if all(9 <= length(t) <= 16 for t in p)
]
sources, references = (list(side) for side in zip(*test[:40], strict=True))
print(f"{len(sources)} sentences, the first: {sources[0]} -> {references[0]}")


def translate(nbest=1, **decoding):
    """All sentences, with changes to how the config decodes."""
    decoding = dataclasses.replace(config.decoding, **decoding)
    translator = Translator(graphdef, tokenizer, decoding, max_length=16)
    return translator.translate(params, sources, nbest=nbest)


beam4 = translate(nbest=4)

# %% [markdown]
# ## The tree
#
# A hypothesis $y_{\leq t}$ is scored by its log probability, a sum over tokens:
#
# $$\log P(y_{\leq t} \mid x) = \sum_{i=1}^{t} \log P(y_i \mid y_{<i}, x)$$
#
# Beam search keeps the $W$ best hypotheses that have not ended. In every step it looks at the $2W$
# best continuations of all of them. At most $W$ of these can be the end token `</s>`, one for each
# hypothesis, so at least $W$ go on. Those that end are *finished* and wait; the $W$ best of the
# others are *kept*; the rest is *dropped* and never seen again.
#
# `explore` runs this search once more, slowly and in plain Python, and remembers everything that it
# looked at. The tree below is drawn from it. Each row is a step, each box a token with the log
# probability of the hypothesis so far. Follow the thick line to the translation.


# %%
def tree_of(line, num_return=1, **decoding):
    decoding = dataclasses.replace(config.decoding, **decoding)
    return explore(graphdef, params, tokenizer, decoding, line, num_return)


def winner(translation, alpha):
    """Which of a sentence's four hypotheses has the best score with another alpha."""
    pairs = zip(translation.ids, translation.log_probs, strict=True)
    return int(np.argmax([log_prob / ((5 + len(ids)) / 6) ** alpha for ids, log_prob in pairs]))


def contested(number):
    """How many hypotheses win for some alpha, then how near the second best is to the best."""
    scores = beam4[number].scores
    winners = {winner(beam4[number], alpha) for alpha in (0, 0.3, 0.6, 1, 1.5)}
    return len(winners), [*scores, -math.inf][1] - scores[0]


EXAMPLE = max(range(len(sources)), key=contested)
tree = tree_of(sources[EXAMPLE])
print("source:     ", sources[EXAMPLE])
print("reference:  ", references[EXAMPLE])
print("translation:", beam4[EXAMPLE].text)
draw_beam_tree(tree, tokenizer.pieces)

# %% [markdown]
# Is it the same search? `transformer.decoding.beam` decodes many sentences at a time in one
# compiled loop with a cache. It must return what the tree shows: the same tokens, the same scores.

# %%
for line, translation in zip(sources[:10], beam4, strict=False):
    same = tree_of(line, num_return=4)
    count = len(translation.ids)
    assert [same.tokens(n) for n in same.hypotheses][:count] == translation.ids
    np.testing.assert_allclose(same.scores[:count], translation.scores, atol=1e-4)

# %% [markdown]
# ## Length penalty
#
# Every token makes a hypothesis less probable, so plain log probability prefers short outputs. The
# paper (section 6.1) divides it by the length penalty of Wu et al. (2016), with $\alpha = 0.6$:
#
# $$s(y) = \frac{\log P(y \mid x)}{lp(y)} \qquad lp(y) = \left(\frac{5 + |y|}{6}\right)^{\alpha}$$
#
# $|y|$ counts the end token. With $\alpha = 0$ nothing is divided. With $\alpha = 1$ the score of a
# long hypothesis comes near to six times the mean log probability of its tokens.
#
# The example's four best hypotheses, below, are from a search that goes on until all four are
# certain. The tree's ended when the first was, and its other finished ones may differ.

# %%
hypotheses = beam4[EXAMPLE]
assert math.isclose(((5 + 13) / 6) ** 0.6, length_penalty(jnp.array(13), 0.6), rel_tol=1e-6)

lengths, alphas = np.arange(1, 61), np.linspace(0, 2, 101)
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
for alpha, colour in zip(
    [0, 0.3, 0.6, 1, 1.5], plt.cm.viridis(np.linspace(0, 0.9, 5)), strict=True
):
    left.plot(lengths, ((5 + lengths) / 6) ** alpha, color=colour, label=rf"$\alpha$ = {alpha}")
left.set(
    xlabel="|y|, tokens with </s>", ylabel="lp(y)", title="What log probabilities are divided by"
)
left.legend(frameon=False)

COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7"]
curves = [
    log_prob / ((5 + len(ids)) / 6) ** alphas
    for ids, log_prob in zip(hypotheses.ids, hypotheses.log_probs, strict=True)
]
for rank, (curve, colour) in enumerate(zip(curves, COLOURS, strict=False)):
    label = f"{rank + 1}: {len(hypotheses.ids[rank])} tokens"
    right.plot(alphas, curve, color=colour, label=label)
right.axvline(0.6, color="0.7", linewidth=1, zorder=0)
right.set(xlabel=r"$\alpha$", ylabel="s(y)", title="Scores of the four hypotheses of the example")
right.legend(frameon=False)
plt.show()
for rank, (text, ids, log_prob, score) in enumerate(
    zip(hypotheses.texts, hypotheses.ids, hypotheses.log_probs, hypotheses.scores, strict=True), 1
):
    assert math.isclose(score, log_prob / ((5 + len(ids)) / 6) ** 0.6, rel_tol=1e-4)
    print(f"{rank}: log P {log_prob:7.3f}   |y| {len(ids):2}   score {score:7.3f}   {text}")

# %% [markdown]
# Where two curves cross, another hypothesis wins. How often does that happen? Below, the four
# hypotheses of every sentence are ranked once more with other values of $\alpha$. (A search with
# that $\alpha$ from the start could find other hypotheses, too.)


# %%
mean_length = np.mean([length(reference) for reference in references])
print(f"references: {mean_length:.2f} tokens on average")
for alpha in (0, 0.6, 1, 2, 4):
    chosen = [winner(translation, alpha) for translation in beam4]
    changed = sum(n != winner(t, 0.6) for n, t in zip(chosen, beam4, strict=True))
    tokens = np.mean([len(t.ids[n]) for n, t in zip(chosen, beam4, strict=True)])
    bleu = corpus_bleu([t.texts[n] for n, t in zip(chosen, beam4, strict=True)], references)
    print(
        f"alpha {alpha:3}: {tokens:5.2f} tokens on average, {changed:2} of {len(beam4)} sentences "
        f"differ from alpha 0.6, BLEU {bleu.score:.1f}"
    )
    assert alpha != 0.6 or chosen == [0] * len(beam4)

# %% [markdown]
# A larger $\alpha$ makes outputs longer. That is no end in itself: the paper chose 0.6 on its
# development set, and on forty sentences a point or two of BLEU are noise.
#
# ## When may the search stop?
#
# Log probabilities only fall as tokens are added. So a live hypothesis with log probability $\ell$
# never gets a better score than $\ell$ divided by the *largest* penalty there can be, that of
# the length limit $L$ (the source's length plus some room):
#
# $$\max s \leq \ell \, / \, \left(\frac{5 + L}{6}\right)^{\alpha}$$
#
# As soon as the best finished score is at least that high for the best live hypothesis, nothing can
# overtake it, and stopping changes no result. To divide by the *present* length's penalty instead
# would be wrong: the hypothesis may still grow, and its penalty with it. Many programs stop when
# $W$ hypotheses have finished, which is fast and can miss the best one.

# %%
limit = length(sources[EXAMPLE]) + config.decoding.max_extra_length
steps = range(1, tree.nodes[-1].length + 1)
live = [
    max((n.total for n in tree.nodes if n.length == t and n.fate == "live"), default=np.nan)
    for t in steps
]
bound = np.array(live) / ((5 + limit) / 6) ** config.decoding.alpha
finished = [
    max((n.score for n in tree.nodes if n.fate == "finished" and n.length <= t), default=np.nan)
    for t in steps
]
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.plot(
    steps, bound, "o-", color=COLOURS[1], label="best score that a live hypothesis could reach"
)
axes.plot(steps, finished, "s-", color=COLOURS[2], label="best finished score so far")
axes.set(xlabel="step", ylabel="score", title="The search ends where the lines cross")
axes.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
axes.legend(frameon=False)
plt.show()
assert tree.certain == (finished[-1] >= bound[-1])
assert not any(f >= b for f, b in zip(finished[:-1], bound[:-1], strict=True))

# %% [markdown]
# How much would be lost by stopping as soon as one hypothesis has finished, or as soon as $W = 4$
# have? The trees know the order.

# %%
trees = [tree_of(line) for line in sources]


def best_of_first(grown, count):
    """The best score at the step when so many hypotheses have finished; or when the search ends."""
    ended = [node for node in grown.nodes if node.fate == "finished"]
    if len(ended) < count:
        return grown.scores[0]
    return max(node.score for node in ended if node.length <= ended[count - 1].length)


for count in (1, 4):
    worse = sum(best_of_first(grown, count) < grown.scores[0] for grown in trees)
    print(
        f"stopping when {count} have finished: a worse score in {worse} of {len(trees)} sentences"
    )
reason = collections.Counter(
    "nothing could overtake" if t.certain else "length limit" for t in trees
)
print("why the searches ended:", dict(reason))

# %% [markdown]
# ## Greedy, beam, sampling
#
# - **Greedy** takes the most probable token at each step: a beam of 1.
# - **Beam search** looks for the most probable sentence.
# - **Sampling** draws each token from $P(y_i \mid y_{<i}, x)$. A *temperature* $\tau$ divides the
#   logits first: below 1 it sharpens. *Top-k* draws among the $k$ best tokens only, *top-p* among
#   the fewest best tokens that together hold a share $p$.
#
# For each, the table has BLEU over all sentences, the mean of $\log P(y \mid x)$, which is the
# model's own opinion, and how many translations are exactly the reference. Of each sampler, five
# samples a sentence are scored.

# %%
WAYS = {
    "greedy": {"beam_size": 1},
    "beam 4": {"beam_size": 4},
    "beam 12": {"beam_size": 12},
    "sample": {"strategy": "sample"},
    "sample, temperature 0.5": {"strategy": "sample", "temperature": 0.5},
    "sample, top-k 5": {"strategy": "sample", "top_k": 5},
    "sample, top-p 0.8": {"strategy": "sample", "top_p": 0.8},
}
found = {}
rows = []
for name, way in WAYS.items():
    samples = 5 if "sample" in name else 1
    found[name] = beam4 if name == "beam 4" else translate(nbest=samples, **way)
    texts = [text for t in found[name] for text in t.texts[:samples]]
    repeated = [reference for reference in references for _ in range(samples)]
    log_prob = np.mean([p for t in found[name] for p in t.log_probs[:samples]])
    exact = np.mean([a == b for a, b in zip(texts, repeated, strict=True)])
    rows.append((name, corpus_bleu(texts, repeated).score, log_prob, exact))
print(f"{'':24} BLEU   mean log P   exact")
for name, bleu, log_prob, exact in rows:
    print(f"{name:24} {bleu:4.1f}   {log_prob:10.2f}   {exact:5.0%}")

# %%
figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", sharey=True)
colours = [COLOURS[3] if "sample" in name else COLOURS[1] for name, *_ in rows]
for axes, column, title, form in zip(
    panels, (1, 2), ("BLEU", "mean log P(y | x), nats"), ("%.1f", "%.2f"), strict=True
):
    bars = axes.barh([row[0] for row in rows], [row[column] for row in rows], color=colours)
    axes.bar_label(bars, fmt=form, padding=4)
    axes.set(title=title)
    axes.margins(x=0.18)
panels[0].invert_yaxis()
plt.show()
if TRAINED:
    means = {name: log_prob for name, _, log_prob, _ in rows}
    assert means["beam 12"] >= means["greedy"] > means["sample"]

# %% [markdown]
# Where one translation is right, as here, what the model finds probable is mostly what BLEU finds
# good, and sampling costs both. Its place is where many outputs are wanted.
#
# One sentence in all ways. Samples differ from each other; a search always says the same.

# %%
print("source:", sources[EXAMPLE])
for name, translations in found.items():
    texts = translations[EXAMPLE].texts
    for text in texts[:3] if "sample" in name else texts[:1]:
        print(f"{name:24} {text}")

# %% [markdown]
# ## Errors of the search, errors of the model
#
# A translation can be wrong for two reasons. Either the model gives the right one a lower score
# than the wrong one: a *model error*, and no search can help. Or the right one has a higher score,
# and the search did not find it: a *search error*. Scoring the reference by the model (teacher
# forcing, no search) tells them apart.

# %%
scorer = ForcedScorer(graphdef, tokenizer, config.data.batch_tokens)
forced = scorer.score(params, sources, references)
reference_scores = np.array([p.sum() / ((5 + len(ids)) / 6) ** 0.6 for ids, p in forced])

figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", sharex=True, sharey=True)
for name, axes in zip(("greedy", "beam 4"), panels, strict=True):
    # A beam of one ranks nothing; for the comparison its output is scored with the same penalty.
    own = np.array([t.log_probs[0] / ((5 + len(t.ids[0])) / 6) ** 0.6 for t in found[name]])
    right = np.array([t.text == r for t, r in zip(found[name], references, strict=True)])
    search_error = ~right & (reference_scores > own + 1e-4)
    model_error = ~right & ~search_error
    for chosen, marker, colour, label in (
        (right, "o", "0.6", "right"),
        (model_error, "s", COLOURS[1], "model error"),
        (search_error, "^", COLOURS[0], "search error"),
    ):
        axes.plot(
            own[chosen],
            reference_scores[chosen],
            marker,
            color=colour,
            label=f"{label}: {chosen.sum()}",
        )
    lowest = min(own.min(), reference_scores.min())
    axes.plot([lowest, 0], [lowest, 0], color="0.8", linewidth=1, zorder=0)
    axes.set(xlabel="score of the translation", title=name)
    axes.legend(frameon=False, loc="upper left")
    np.testing.assert_allclose(own[right], reference_scores[right], atol=1e-3)
panels[0].set_ylabel("score of the reference")
plt.show()

# %% [markdown]
# Points on the line are right translations. Below it the model prefers its own output to the
# reference. Above it the model would have preferred the reference, had the search seen it.
#
# The reference is only one witness. A larger beam is another: where it finds a hypothesis with a
# higher score than a smaller one did, the smaller one made a search error, whether the new one is
# right or not.


# %%
def scores_of(name):
    return np.array([t.log_probs[0] / ((5 + len(t.ids[0])) / 6) ** 0.6 for t in found[name]])


for small, large in (("greedy", "beam 4"), ("greedy", "beam 12"), ("beam 4", "beam 12")):
    better = scores_of(large) > scores_of(small) + 1e-4
    lower = scores_of(large) < scores_of(small) - 1e-4
    print(f"{large} scores higher than {small} in {better.sum()} sentences, lower in {lower.sum()}")

# %% [markdown]
# A larger beam is no guarantee for a single sentence: it keeps more hypotheses, and one of them can
# push out the beginning of what a smaller beam finds.
#
# Last, one search error seen in the tree. Of the sentences that a beam of 4 gets right, it is the
# one where greedy search falls behind most. Greedy search goes down the first column; here a beam
# of 2 is drawn, so that a branch which overtakes can be seen.

# %%
gap = scores_of("beam 4") - scores_of("greedy")
solved = [translation.text == right for translation, right in zip(beam4, references, strict=True)]
WORST = max(range(len(sources)), key=lambda number: (solved[number], gap[number]))
print("source:   ", sources[WORST])
print("reference:", references[WORST])
for name in ("greedy", "beam 4"):
    print(f"{name:9}: {found[name][WORST].text}  (score {scores_of(name)[WORST]:.3f})")
greedy = tree_of(sources[WORST], beam_size=1)
assert greedy.tokens(greedy.hypotheses[0]) == found["greedy"][WORST].ids[0]
draw_beam_tree(tree_of(sources[WORST], beam_size=2), tokenizer.pieces)

# %% [markdown]
# ## To try
#
# - Train longer, with `STEPS = 4000`: how many search errors are left?
# - `draw_beam_tree(tree_of("The old man reads a book.", beam_size=3), tokenizer.pieces)`, with a
#   sentence of your own.
# - A trained run of your own: `transformer.training.load.load(["runs/mine"])` has `graphdef`,
#   `params`, `tokenizer` and `config`, which is all that `explore` takes.
