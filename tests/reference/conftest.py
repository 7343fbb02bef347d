"""A run that has learnt to write numbers in German, for other programs to translate with."""

import dataclasses

import pytest

from configs import base
from tests.marian_directory import counting
from transformer import config as config_lib
from transformer.training.load import load
from transformer.training.loop import train


@pytest.fixture(scope="session")
def counting_run(tmp_path_factory):
    """The paper's model, small, after a few hundred steps: its outputs end where they should."""
    folder = tmp_path_factory.mktemp("counting")
    files = folder / "a.en", folder / "a.de"
    for path, lines in zip(files, counting(2_000), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    config = config_lib.from_dict(base.get_config())
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, num_layers=2, d_model=64, d_ff=128, num_heads=4, d_k=16, d_v=16
        ),
        data=dataclasses.replace(
            config.data,
            source="files",
            train=tuple(map(str, files)),
            vocab_size=320,
            max_length=32,
            batch_tokens=512,
            packing=True,
        ),
        training=dataclasses.replace(
            config.training,
            num_steps=800,
            warmup_steps=100,
            checkpoint_every=800,
            average_last=1,
            log_every=100,
        ),
        decoding=dataclasses.replace(config.decoding, length_penalty="power", max_extra_length=10),
    )
    train(config, folder / "run")
    return load([folder / "run"])


@pytest.fixture(scope="session")
def sentences():
    """200 sentences that the run has hardly seen."""
    return counting(200, seed=1)[0]
