"""Compiles a training step for 8 virtual devices, mesh DATA x FSDP x TENSOR; prints its parts."""

import json
import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)

from tests.helpers import VOCAB_SIZE  # noqa: E402
from tests.test_step import config_with, example_batch  # noqa: E402
from transformer.config import MeshConfig  # noqa: E402
from transformer.hardware.hlo import parse  # noqa: E402
from transformer.hardware.program import collectives, runs, work_of  # noqa: E402
from transformer.sharding import make_mesh, put_batch  # noqa: E402
from transformer.training.step import make_init, make_train_step, state_template  # noqa: E402


def main() -> None:
    mesh = make_mesh(MeshConfig(*map(int, sys.argv[1:4])))
    config = config_with(model={"dropout_rate": 0.2})
    init, shardings = make_init(config, VOCAB_SIZE, mesh)
    train_step = make_train_step(config, VOCAB_SIZE, mesh, shardings)
    state = state_template(init, shardings)
    batch = put_batch(mesh, example_batch(rows=16))
    with jax.set_mesh(mesh):
        compiled = train_step.func.lower(*train_step.args, state, batch).compile()
    program = parse(compiled.as_text())
    flops = 0.0
    for instruction, computation, times in runs(program):
        if work := work_of(program, instruction, computation):
            flops += times * sum(product.flops for product in work.products)
    print(
        json.dumps(
            {
                "flops": flops,
                "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
                "collectives": {
                    kind: total.bytes for kind, total in collectives(program, 8).items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
