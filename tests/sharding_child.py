"""Trains a few steps on a mesh DATA x FSDP x TENSOR of virtual devices and prints the losses."""

import json
import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)

from tests.helpers import VOCAB_SIZE  # noqa: E402
from tests.test_step import config_with, example_batch  # noqa: E402
from transformer.config import MeshConfig  # noqa: E402
from transformer.sharding import make_mesh, put_batch  # noqa: E402
from transformer.training.step import make_init, make_train_step  # noqa: E402


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:4]]
    count = sizes[0] * sizes[1] * sizes[2]
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[:count])
    config = config_with(model={"dropout_rate": 0.2})
    init, shardings = make_init(config, VOCAB_SIZE, mesh)
    train_step = make_train_step(config, VOCAB_SIZE, mesh, shardings)
    with jax.set_mesh(mesh):
        state, losses = init(), []
        for _ in range(4):
            state, metrics = train_step(state, put_batch(mesh, example_batch(rows=16)))
            losses.append(float(metrics.loss))
    w1 = state.params["encoder"][0]["feed_forward"]["w1"]
    print(
        json.dumps(
            {
                "losses": losses,
                "devices": len(w1.sharding.device_set),
                "shard": w1.sharding.shard_shape(w1.shape),
            }
        )
    )


if __name__ == "__main__":
    main()
