"""experiments/train.py of one of two processes, which first prints what the other tells it."""

import itertools
import json
import pathlib

import jax
import numpy as np
from absl import flags
from jax.sharding import AxisType, Mesh

from experiments import cli
from tests.test_pipeline import TOKENIZER, train_data
from transformer import hosts
from transformer.config import MeshConfig
from transformer.errors import UserError
from transformer.sharding import MESH_AXES, make_mesh, put_batch, row_blocks
from transformer.training import workdir as workdir_lib
from transformer.training.loop import train

LOAD_CONFIG = cli.config_flag()
JOIN = cli.hosts_flags()
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")

SIZES = [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 2, 4), (2, 1, 4)]


def meshes() -> list[Mesh]:
    """Those that a config can name, and one whose neighbours belong to different processes."""
    shuffled = np.array(jax.devices()).reshape(2, 4).T.reshape(8, 1, 1)
    named = [make_mesh(MeshConfig(*sizes)) for sizes in SIZES]
    return [*named, Mesh(shuffled, MESH_AXES, (AxisType.Auto,) * 3)]


def wrong_rows(mesh: Mesh) -> int:
    """How many rows on this process's devices are not those of the global batch."""
    data, wrong = train_data(row_multiple=8), 0
    streams = zip(data.iterator(), data.iterator(row_blocks(mesh)), strict=True)
    for batch, own in itertools.islice(streams, 3):
        for rows, array in zip(batch, put_batch(mesh, own), strict=True):
            if rows is not None:
                assert array.shape == rows.shape
                shards = array.addressable_shards
                wrong += sum((np.asarray(s.data) != rows[s.index]).any(1).sum() for s in shards)
    return int(wrong)


def claim_unequal_folders() -> str:
    """What is said where each process names a folder of its own."""
    folder = pathlib.Path(f"{WORKDIR.value}-{hosts.index()}")
    try:
        workdir_lib.claim(folder, LOAD_CONFIG(), TOKENIZER)
    except UserError as error:
        return str(error)
    return ""


def main() -> None:
    JOIN()
    facts = {
        "process": [hosts.index(), hosts.count(), hosts.is_first()],
        "gathered": [hosts.gather("number", hosts.index()), hosts.gather("number", "again")],
        "from_first": hosts.from_first("name", lambda: f"{hosts.index()}".encode()).decode(),
        "nothing": hosts.from_first("nothing", bytes).decode(),
        "much": len(hosts.from_first("much", lambda: bytes(2**24 + 1))),
        "blocks": [row_blocks(mesh) for mesh in meshes()],
        "folder": claim_unequal_folders(),
        "wrong_rows": [wrong_rows(mesh) for mesh in meshes()],
    }
    print(json.dumps(facts), flush=True)
    train(LOAD_CONFIG(), pathlib.Path(WORKDIR.value))


if __name__ == "__main__":
    cli.run(main)
