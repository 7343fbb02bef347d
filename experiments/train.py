"""Trains a Transformer, or goes on with the training that a folder holds.

    python experiments/train.py --config=configs/multi30k.py --workdir=runs/multi30k

Every key of the config can be set here: --config.training.num_steps=60
--config.data.train="('a.en','a.de')". Progress goes to stderr, metrics to WORKDIR/metrics.jsonl
and to TensorBoard events in WORKDIR. On several hosts the same command runs on each: see
docs/hosts.md. --profile shows where the time goes: see docs/platforms.md.
"""

import pathlib

from absl import flags

from experiments import cli, environment  # before JAX

import jax  # isort: skip

from transformer.training.loop import train

LOAD_CONFIG = cli.config_flag()
JOIN = cli.hosts_flags()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run: made, or resumed if it holds one", required=True
)
PROFILE = flags.DEFINE_boolean(
    "profile", False, "write where the time of a few steps goes to WORKDIR/profile, layer by layer"
)


def main() -> None:
    """See the module's docstring."""
    if PROFILE.value:
        environment.profile()
        # Programs in the cache may be of a version of this code that named its layers otherwise.
        jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
    JOIN()
    train(LOAD_CONFIG(), pathlib.Path(WORKDIR.value), PROFILE.value)


if __name__ == "__main__":
    cli.run(main)
