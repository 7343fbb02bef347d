# %% [markdown]
# # Quickstart: train, watch, translate, score
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/quickstart.ipynb)
#
# A Transformer learns to translate in a few minutes on two CPU cores: from sentence pairs, your
# own or those of the built-in English-German grammar, to curves that are drawn while it trains, to
# translations and their BLEU.

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
# ## Sentence pairs
#
# Leave this cell as it is for the built-in grammar. For your own text either paste pairs, or name
# two files in which line *n* of one is the translation of line *n* of the other. Some tens of
# thousands of pairs are a good beginning; some hundreds teach a few phrases.

# %%
OWN_PAIRS = ""  # one pair a line: a sentence, a tab, its translation
OWN_FILES = ()  # or two files: ("train.en", "train.de"), plain or .gz

STEPS = int(os.environ.get("NOTEBOOK_STEPS", 1_500))  # about two minutes on two cores
VOCAB_SIZE = 4_000  # pieces; where the text yields fewer, training says how many

# %%
import random

from transformer.data.corpus import read_lines
from transformer.data.grammar import pairs

if OWN_PAIRS or OWN_FILES:
    if OWN_PAIRS:
        rows = [line.split("\t") for line in OWN_PAIRS.strip().splitlines()]
        for number, row in enumerate(rows, start=1):
            assert len(row) == 2, f"Line {number} of OWN_PAIRS is not: a sentence, a tab, another."
    else:
        rows = list(zip(*map(read_lines, OWN_FILES), strict=True))
    random.Random(0).shuffle(rows)
    held_out = min(100, max(1, len(rows) // 20))
    parts = {
        "test": rows[:held_out],
        "validation": rows[held_out : 2 * held_out],
        "train": rows[2 * held_out :],
    }
else:
    sizes = {"train": 50_000, "validation": 100, "test": 100}
    parts = {name: list(zip(*pairs(name, size), strict=True)) for name, size in sizes.items()}

print({name: len(rows) for name, rows in parts.items()})
for source, target in parts["train"][:4]:
    print(f"\n{source}\n{target}")

# %% [markdown]
# Two text files a part are all that training asks for. Everything goes to a folder of its own.

# %%
import tempfile

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="quickstart-"))
for name, rows in parts.items():
    for side, language in enumerate(("source", "target")):
        text = "".join(f"{row[side]}\n" for row in rows)
        (FOLDER / f"{name}.{language}").write_text(text, encoding="utf-8")
RUN = FOLDER / "run"
print(FOLDER)

# %% [markdown]
# ## Training
#
# `experiments/train.py` takes a config and a folder. Here the config is `configs/demo.py`, N = 2
# layers of $d_{model}$ = 128, with a few keys set otherwise. The same command works in a terminal.
# The cell reads the run's `metrics.jsonl` while it grows, and draws it. Interrupting the cell
# saves; running it again goes on from there.

# %%


def files(part):
    """The two files of a part, as the command line takes them."""
    return f"{FOLDER / part}.source,{FOLDER / part}.target"


command = f"""
experiments/train.py --config=configs/demo.py --workdir={RUN}
    --config.data.source=files
    --config.data.train={files("train")}
    --config.data.validation={files("validation")}
    --config.data.vocab_size={VOCAB_SIZE}
    --config.training.num_steps={STEPS}
    --config.training.warmup_steps=300
    --config.training.log_every=20
    --config.training.eval_every={max(100, STEPS // 5)}
    --config.training.checkpoint_every={max(10, STEPS // 50)}
    --config.decoding.max_extra_length=20
"""
if OWN_PAIRS or OWN_FILES:
    command += "--config.model.dropout_rate=0.3"  # less text is seen more often
print("python", command.strip().replace("\n", " \\\n"))

# %%
import time

import matplotlib.pyplot as plt
from IPython.display import display

from transformer.reporting.run import read_records


def curves(records):
    """Loss and BLEU of a run's records, up to now."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    trained = [r for r in records if r["kind"] == "train"]
    validated = [r for r in records if r["kind"] == "validation"]
    steps = [r["step"] for r in trained]
    left.plot(steps, [r["nll"] for r in trained], color="#0072b2", label="training")
    steps = [r["step"] for r in validated]
    left.plot(steps, [r["loss"] for r in validated], "o--", color="#d55e00", label="validation")
    left.set(xlabel="step", ylabel="nats a token", title="loss", xlim=(0, STEPS), ylim=(0, None))
    left.legend()
    right.plot(steps, [r["bleu"] for r in validated], "o--", color="#d55e00")
    right.set(xlabel="step", ylabel="BLEU", title="validation BLEU", xlim=(0, STEPS), ylim=(0, 100))
    plt.close(figure)  # it is shown by `display` alone
    return figure


metrics, log = RUN / "metrics.jsonl", FOLDER / "train.log"
shown = display(curves([]), display_id=True)
with log.open("w") as file:
    training = subprocess.Popen([sys.executable, *command.split()], stderr=file)
    try:
        drawn = 0
        while training.poll() is None:
            time.sleep(1)
            records = read_records(metrics) if metrics.exists() else []
            if len(records) > drawn:
                shown.update(curves(records))
                drawn = len(records)
    finally:
        training.wait()  # also after an interrupt, which saves what there is
assert training.returncode == 0, log.read_text()
records = read_records(metrics)
shown.update(curves(records))

# %%
for line in log.read_text().splitlines():
    if "tokens/s" not in line:  # the curves show those
        print(line)

# %% [markdown]
# ## Translations
#
# The run's folder is all that it takes: config, vocabulary, weights. The weights are the mean of
# the last checkpoints (section 6.1), and beam search has four hypotheses.

# %%
from transformer.training.load import load

model = load([RUN])
sources, references = zip(*parts["test"], strict=True)
translations = [found.text for found in model.translate(sources)]
for source, translation, reference in list(zip(sources, translations, references, strict=True))[:6]:
    print(f"{source}\n    model:     {translation}\n    reference: {reference}\n")

# %% [markdown]
# Your own sentence:

# %%
SENTENCE = "The old teacher reads a book." if not (OWN_PAIRS or OWN_FILES) else sources[0]
for found in model.translate([SENTENCE]):
    print(found.text)

# %% [markdown]
# ## BLEU
#
# sacreBLEU, with the signature that says how it was computed. The test sentences took no part in
# training.

# %%
from transformer.evaluation.bleu import score

scores = score(translations, references)
print(f"BLEU {scores.bleu.score:.2f}  {scores.bleu.signature}")
print(f"chrF {scores.chrf.score:.2f}  {scores.chrf.signature}")
exact = sum(map(str.__eq__, translations, references)) / len(references)
print(f"{exact:.0%} of the translations are the reference word for word")
if "NOTEBOOK_STEPS" not in os.environ and not (OWN_PAIRS or OWN_FILES):
    assert scores.bleu.score > 60

# %% [markdown]
# ## From here
#
# `make demo` trains the same model for longer. `configs/multi30k.py` is a config for real text,
# and README says how to run it. The notebook `attention` looks into a trained model, `one_batch`
# follows a batch through the training step, `decoding` shows the beam.
