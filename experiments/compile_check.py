r"""Compiles a config's training step or decoding for hardware that is not there: one JSON object.

    python experiments/compile_check.py --config=configs/base.py --topology=v5e:2x4
    python experiments/compile_check.py --config=configs/big.py --topology=h100:8 --what=decode
    python experiments/compile_check.py --config=configs/big.py --topology=v5e:4x4 \
        --config.mesh.fsdp=8 --config.mesh.data=-1 --config.model.dtype=bfloat16

It says whether the program compiles and fits, what it holds on each device, what it sends and
computes, and how long a step would probably take: an estimate with its assumptions beside it. The
batch has config.data.batch_tokens on either side, or --tokens_per_device on each device, in rows
of --length tokens: by default 64, of packed rows config.data.max_length. It takes what
`pip install -e .[compile-tpu]` installs, for GPUs compile-cuda13, and compile-cuda12 for p100 and
v100.
"""

import json
import os

# Programs are compiled, not run: nothing may look for the accelerators of this machine. Nor can
# JAX's cache keep a program of which no device is here.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

from absl import flags

from experiments import cli  # before JAX

from transformer.hardware.check import check  # isort: skip
from transformer.hardware.topology import find_topology  # isort: skip

LOAD_CONFIG = cli.config_flag()
TOPOLOGY = flags.DEFINE_string("topology", None, "the machine, for example v5e:2x4 or h100:8")
WHAT = flags.DEFINE_enum("what", "train", ["train", "decode"], "what is compiled")
TOKENS = flags.DEFINE_integer(
    "tokens_per_device", None, "of each side of a batch, instead of batch_tokens", lower_bound=1
)
LENGTH = flags.DEFINE_integer("length", None, "tokens of a row on either side", lower_bound=1)


def main() -> None:
    """See the module's docstring."""
    topology = find_topology(TOPOLOGY.value or "")
    record = check(LOAD_CONFIG(), topology, WHAT.value, TOKENS.value, LENGTH.value)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    cli.run(main)
