# %% [markdown]
# # Attention by hand
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/transformer-jax/transformer-jax/blob/main/notebooks/arithmetic.ipynb)
#
# Attention by hand: to be written.

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

plt.plot(jnp.arange(3))
