# %% [markdown]
# # One model on eight devices
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/sharding.ipynb)
#
# The CPU plays eight devices. A batch and the parameters are laid out over them in three ways, by
# data, by weights and by all axes at once. You see what lies where, how much each device holds,
# that the losses are those of one device, and what the devices send to each other. The same code
# runs on eight GPUs or on a TPU pod. It takes about a minute.

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
# ## Eight devices
#
# Their number must be settled before JAX is first asked for its devices.

# %%
os.environ["JAX_PLATFORMS"] = "cpu"

import jax

jax.config.update("jax_num_cpu_devices", 8)
print(jax.devices())
assert jax.device_count() == 8

# %% [markdown]
# ## The mesh, and one table
#
# The devices are arranged as a box with three named axes:
#
# - `data` cuts the batch;
# - `fsdp` cuts the batch, and the stored weights as well;
# - `tensor` cuts heads, feed-forward and vocabulary.
#
# Every dimension of every parameter has a name too. One table says which mesh axes cut it. The
# model is written as if there were one device: XLA's partitioner puts in the communication.

# %%
from tabulate import tabulate

from transformer.sharding import RULES

rows = [[name, ", ".join(axes) or "whole"] for name, axes in RULES.items()]
print(tabulate(rows, headers=["dimension", "is cut along"]))

# %% [markdown]
# Three meshes of eight devices, and one of a single device to compare with. The sizes are those of
# (data, fsdp, tensor).

# %%
from transformer.config import MeshConfig
from transformer.sharding import make_mesh

SIZES = [(1, 1, 1), (8, 1, 1), (1, 8, 1), (2, 2, 2)]
meshes = {}
for sizes in SIZES:
    devices = jax.devices()[: sizes[0] * sizes[1] * sizes[2]]
    meshes[sizes] = make_mesh(MeshConfig(*sizes), devices)
print(meshes[2, 2, 2])

# %% [markdown]
# ## A small model and a batch
#
# N = 1 layer, D = 32, F = 64, H = 4, V = 512. The batch has B = 16 rows of S = T = 12 tokens. Its
# ids are random, for only layout and arithmetic matter here.

# %%
import dataclasses

import numpy as np

from configs import demo
from transformer import config as config_lib
from transformer.data.batching import Batch
from transformer.data.tokenizer import BOS

V = 512
config = config_lib.from_dict(demo.get_config())
small = {"num_layers": 1, "d_model": 32, "d_ff": 64, "num_heads": 4, "d_k": 8, "d_v": 8}
config = dataclasses.replace(config, model=dataclasses.replace(config.model, **small))

rng = np.random.default_rng(0)
source, target = rng.integers(4, V, (2, 16, 12), dtype=np.int32)
segments = (np.arange(12) < rng.integers(4, 13, (16, 1))).astype(np.int32)  # 0 is padding
batch = Batch(
    source=source * segments,
    source_segments=segments,
    source_positions=None,
    target_in=np.insert(target, 0, BOS, axis=1)[:, :-1] * segments,
    target_out=target * segments,
    target_segments=segments,
    target_positions=None,
)

# %% [markdown]
# ## What lies where: the batch
#
# `put_batch` cuts the rows along `data` and `fsdp`. On (8,1,1) and on (1,8,1) each device has two
# of the 16 rows. On (2,2,2) the rows are cut in four, and two devices, neighbours along `tensor`,
# hold the same ones.

# %%
from transformer.sharding import put_batch

for sizes in SIZES[1:]:
    print(f"source [B S] = [16 12] on {sizes}")
    jax.debug.visualize_array_sharding(put_batch(meshes[sizes], batch).source)

# %% [markdown]
# ## What lies where: the parameters
#
# $W_1$ of the feed-forward network, [D F] = [32 64], has the dimensions `embed` and `mlp`. On
# (8,1,1) every device holds all of it. On (1,8,1) its rows are cut in eight. On (2,2,2) rows are
# cut along `fsdp` and columns along `tensor`. Two devices, neighbours along `data`, hold each
# part.
#
# `make_init` gives a function that makes the state, and the sharding of each array. Training has
# that function make each array where it will lie. Here one state is made and laid out four times.

# %%
from transformer.training.step import make_init

init = make_init(config, V, meshes[1, 1, 1])[0]
first_state = jax.device_get(init())
states, shardings = {}, {}
for sizes, mesh in meshes.items():
    shardings[sizes] = make_init(config, V, mesh)[1]
    states[sizes] = jax.device_put(first_state, shardings[sizes], may_alias=False)

for sizes in SIZES[1:]:
    w1 = states[sizes].params["encoder"][0]["feed_forward"]["w1"]
    part = w1.addressable_shards[0].data.shape
    print(f"W_1 [D F] = [32 64] on {sizes}: each device holds {part}")
    jax.debug.visualize_array_sharding(w1)

# %% [markdown]
# ## How much each device holds
#
# Parameters and Adam's two moments are three arrays of the same shape, each cut alike.

# %%
import matplotlib.pyplot as plt


def held(tree):
    """Bytes on the first device."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


names = [str(sizes).replace(" ", "") for sizes in SIZES]
parameters = np.array([held(states[sizes].params) for sizes in SIZES]) / 1024
moments = np.array([held(states[sizes].opt_state) for sizes in SIZES]) / 1024
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.bar(names, parameters, color="#0072b2", label="parameters")
axes.bar(names, moments, bottom=parameters, color="#e69f00", label="Adam's moments")
for place, total in enumerate(parameters + moments):
    axes.text(place, total + 6, f"{total:.0f} KiB", ha="center")
axes.set(xlabel="mesh (data, fsdp, tensor)", ylabel="KiB", title="what each device holds")
axes.set_ylim(0, 1.15 * (parameters + moments).max())
axes.legend(loc="upper right")
plt.show()

total = dict(zip(SIZES, parameters + moments, strict=True))
assert total[8, 1, 1] == total[1, 1, 1] and total[1, 8, 1] < total[1, 1, 1] / 6

# %% [markdown]
# Layer norms and biases, the rest at (1,8,1), stay whole: cutting them saves nothing.
#
# ## The same losses
#
# The training step is compiled for each mesh, and takes three steps on the same batch. Loss and
# gradient are means over the real tokens of the **global** batch, so that it does not matter how
# many each device has.

# %%
from transformer.training.step import make_train_step

losses, texts = {}, {}
for sizes, mesh in meshes.items():
    step = make_train_step(config, V, mesh, shardings[sizes])
    state, on_mesh = states[sizes], put_batch(mesh, batch)
    with jax.set_mesh(mesh):
        program = step.func.lower(*step.args, state, on_mesh).compile()
    texts[sizes] = program.as_text()
    losses[sizes] = []
    for _ in range(3):
        state, metrics = program(*step.args, state, on_mesh)
        losses[sizes].append(float(metrics.loss))

rows = [[str(sizes), *losses[sizes]] for sizes in SIZES]
print(tabulate(rows, headers=["mesh", "step 1", "step 2", "step 3"], floatfmt=".6f"))
for sizes in SIZES[1:]:
    np.testing.assert_allclose(losses[sizes], losses[1, 1, 1], rtol=1e-5)

# %% [markdown]
# The last digit may differ: eight partial sums are added in another order than one sum.
#
# ## What the devices send to each other
#
# The compiled programs' text names every collective.
#
# - **all-reduce**: all devices get the sum of what each has. On (8,1,1) that is how gradients are
#   added up.
# - **all-gather**: all devices get all parts. On (1,8,1) each matrix is put together before it is
#   used, and let go again.
# - **reduce-scatter**: each device gets its part of the sum. It is how gradients get back to where
#   the parts of the weights are. XLA for CPUs writes it as an all-reduce and a cut.
#
# Along `tensor`, on (2,2,2), activations are added up in each layer as well.

# %%
from transformer.hardware.hlo import parse
from transformer.hardware.program import collectives

found = {sizes: collectives(parse(texts[sizes]), devices=8) for sizes in SIZES}
rows = [
    [str(sizes), kind, moved.count, moved.bytes / 1024]
    for sizes in SIZES
    for kind, moved in found[sizes].items()
]
print(tabulate(rows, headers=["mesh", "collective", "times a step", "KiB a step"], floatfmt=".1f"))

assert not found[1, 1, 1]
assert set(found[8, 1, 1]) == {"all-reduce"}
assert "all-gather" in found[1, 8, 1] and "all-gather" not in found[8, 1, 1]

# %%
kinds = sorted({kind for moved in found.values() for kind in moved})
colours = dict(zip(kinds, ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"), strict=False))
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
below = np.zeros(3)
for kind in kinds:
    amounts = [found[s][kind].bytes / 1024 if kind in found[s] else 0 for s in SIZES[1:]]
    axes.bar(names[1:], amounts, bottom=below, color=colours[kind], label=kind, width=0.6)
    below += amounts
axes.set(xlabel="mesh (data, fsdp, tensor)", ylabel="KiB a step", title="what collectives move")
axes.set_ylim(0, 1.15 * below.max())
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# More is added up on (8,1,1) than there are parameters: the embedding $E$ serves three times, for
# source, target and logits, and the gradient of each use is added up over the devices by itself.
#
# (8,1,1) holds everything eight times, and sends gradients alone. (1,8,1) holds an eighth and
# fetches the weights besides. (2,2,2) also cuts the products themselves, for
# models so wide that a layer is too much for one device, and moves activations for it, which grow
# with the batch. `docs/meshes.md` has the rules, and `docs/scale.md` what real
# meshes of TPUs and GPUs would spend on each. To train on a mesh, give the command its sizes, say
# `--config.mesh.fsdp=8`.
