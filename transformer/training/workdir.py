"""The folder of a run: it alone is enough to go on training, to translate and to evaluate.

    config.json  vocabulary.model  data.json  environment.json  parameters.txt  metrics.jsonl
    checkpoints/  best/  events.out.tfevents...  profile/

Each file is written whole or not at all, save the two logs, which grow. The vocabulary is a
SentencePiece model, or the archive of Marian's three files that `MarianTokenizer` packs.
"""

import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import secrets
import sys
from typing import Any

import jax

from transformer import config as config_lib
from transformer import hosts
from transformer.config import Config
from transformer.data.marian_tokenizer import load_tokenizer
from transformer.data.pipeline import TrainData
from transformer.data.tokenizer import Tokenizer
from transformer.errors import UserError
from transformer.files import sha256, write
from transformer.training.checkpoint import saved_steps

CONFIG, VOCABULARY = "config.json", "vocabulary.model"
DATA, ENVIRONMENT, METRICS = "data.json", "environment.json", "metrics.jsonl"
PROFILE = "profile"
PACKAGES = "jax jaxlib flax optax orbax-checkpoint grain sentencepiece sacrebleu numpy".split()

# What a run may change when it goes on: nothing that decides which numbers training computes.
CHANGEABLE = (
    "training.num_steps training.log_every training.eval_every training.checkpoint_every "
    "training.keep_last training.keep_best training.average_last training.patience "
    "training.bleu_tokenize decoding. mesh. data.validation data.validation_pairs data.test "
    "model.remat experiment"
).split()
# And one that has the weights of an import and no step of training yet: all but these weights.
CHANGEABLE_BEFORE_TRAINING = (
    "seed data. training. model.dtype model.dropout_rate model.attention_dropout_rate "
    "model.feed_forward_dropout_rate"
).split()

# What of data.json says which text it was, and how it was cut.
_OF_TEXT = ("pairs", "source_tokens", "target_tokens", "lengths_crc32")
_OF_BATCHES = ("steps_per_epoch", "shapes")

_SHARE = "all hosts need one folder that they share (NFS, for example) as --workdir"


def check(workdir: pathlib.Path, config: Config) -> None:
    """Refuses a folder that holds another experiment than `config`, and checkpoints of it.

    Raises:
      UserError: what differs is named; or processes find different things in `workdir`.
    """
    vocabulary = workdir / VOCABULARY
    hosts.same(
        {
            "the list of checkpoints in --workdir": saved_steps(workdir),
            "the SHA-256 of --workdir's vocabulary": vocabulary.exists() and sha256(vocabulary),
        },
        _SHARE,
    )
    if not (workdir / CONFIG).exists() or not saved_steps(workdir):
        return
    allowed = CHANGEABLE + (CHANGEABLE_BEFORE_TRAINING if saved_steps(workdir) == [0] else [])
    changed = {
        key: values
        for key, values in config_lib.differences(_read_config(workdir / CONFIG), config).items()
        if not any(key == k or (k.endswith(".") and key.startswith(k)) for k in allowed)
    }
    if changed:
        what = "; ".join(f"config.{k} was {a!r}, is {b!r}" for k, (a, b) in changed.items())
        raise UserError(
            f"{workdir} holds another experiment ({what}); name another --workdir, or give the "
            "old values to resume it."
        )


def stored_vocabulary(workdir: pathlib.Path, vocab_path: str) -> Tokenizer | None:
    """The vocabulary that the run was begun with, None for one that has no checkpoint yet.

    Raises:
      UserError: it is not the one at `vocab_path`, where that is not empty.
    """
    path = workdir / VOCABULARY
    if not path.exists() or not saved_steps(workdir):
        return None
    stored = load_tokenizer(path)
    if vocab_path and load_tokenizer(vocab_path).fingerprint != stored.fingerprint:
        raise UserError(
            f"{path} is another vocabulary than {vocab_path}, which config.data.vocab_path names; "
            "name another --workdir."
        )
    return stored


def claim(workdir: pathlib.Path, config: Config, tokenizer: Tokenizer) -> None:
    """Makes `workdir` this experiment's: the first process writes, and all see it.

    Raises:
      UserError: it cannot be written, or the processes do not share it.
    """
    if hosts.is_first():
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write(workdir / VOCABULARY, tokenizer.model_proto)
            write(workdir / CONFIG, json.dumps(config_lib.to_dict(config), indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{workdir} cannot be written: {error.strerror}.") from error
    if hosts.count() > 1:
        _check_shared(workdir)


def _check_shared(workdir: pathlib.Path) -> None:
    trace = f".{secrets.token_hex(8)}"  # a name that no host has looked for before
    if hosts.is_first():
        (workdir / trace).touch()
    trace = hosts.gather("trace", trace)[0]
    seen = hosts.gather("seen", (workdir / trace).exists())
    if hosts.is_first():
        (workdir / trace).unlink()
    if not all(seen):
        raise UserError(
            f"Process {seen.index(False)} does not see what process 0 writes to {workdir}; "
            f"{_SHARE}."
        )


def load(workdir: pathlib.Path) -> tuple[Config, Tokenizer]:
    """The config and the vocabulary of a run.

    Raises:
      UserError: `workdir` is not the folder of a run.
    """
    for name in (CONFIG, VOCABULARY):
        if not (workdir / name).exists():
            raise UserError(f"{workdir} is not the folder of a run: it holds no {name}.")
    return _read_config(workdir / CONFIG), load_tokenizer(workdir / VOCABULARY)


def describe_data(
    workdir: pathlib.Path, data: TrainData, validation_pairs: int, row_multiple: int
) -> None:
    """Writes how much the run learns from, what was left out, and the shapes of its batches.

    Raises:
      UserError: a run that has begun was given other text, or this code makes other batches of it.
    """
    statistics = {
        "pairs": data.num_pairs,
        "lengths_crc32": data.fingerprint,
        "dropped": data.dropped,
        "source_tokens": data.source_tokens,
        "target_tokens": data.target_tokens,
        "steps_per_epoch": data.steps_per_epoch,
        "padding_share": round(data.padding.share, 4),
        "shapes": [shape._asdict() for shape in data.shapes],
        "row_multiple": row_multiple,
        "validation_pairs": validation_pairs,
    }
    _check_data(workdir, statistics)
    if hosts.is_first():
        write(workdir / DATA, json.dumps(statistics, indent=2) + "\n")


def _check_data(workdir: pathlib.Path, statistics: dict[str, Any]) -> None:
    """The place of a run in its data means nothing in other data, nor in other batches of it."""
    stored = _stored_data(workdir)
    for advice, names in (
        ("the text is not that which the run began with; restore it", _OF_TEXT),
        ("its batches were made by another version of this code; take that one", _OF_BATCHES),
    ):
        for name in names:
            if stored.get(name, statistics[name]) != statistics[name]:
                raise UserError(
                    f"{workdir} cannot go on: {name} in {DATA} is {stored[name]}, but now "
                    f"{statistics[name]}: {advice}, or name another --workdir."
                )


def stored_row_multiple(workdir: pathlib.Path) -> int | None:
    """What `describe_data` wrote, if the run in `workdir` has begun."""
    return _stored_data(workdir).get("row_multiple")


def _stored_data(workdir: pathlib.Path) -> dict[str, Any]:
    """What `describe_data` wrote, empty if the run in `workdir` has not begun."""
    begun = max(saved_steps(workdir), default=0) > 0 and (workdir / DATA).exists()
    return read_json(workdir / DATA) if begun else {}


def describe(workdir: pathlib.Path, params: Any) -> int:
    """Writes the table of parameters and what the run runs on; returns their number.

    As every file here, the first process alone writes it.
    """
    rows = []
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        name = ".".join(str(getattr(key, "key", key)) for key in path)
        rows.append((name, "x".join(map(str, array.shape)), math.prod(array.shape)))
    total = sum(count for *_, count in rows)
    width = max(len(name) for name, *_ in rows)
    lines = [f"{name:<{width}} {shape:>14} {count:>12,}" for name, shape, count in rows]
    lines.append(f"{'total':<{width}} {'':>14} {total:>12,}")
    if not hosts.is_first():
        return total
    write(workdir / "parameters.txt", "\n".join(lines) + "\n")
    environment = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "processes": jax.process_count(),
        "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    write(workdir / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
    return total


def read_json(path: pathlib.Path, kinds: type | tuple[type, ...] = dict) -> Any:
    """The JSON object that a file holds, or another value of one of `kinds`.

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON (line {error.lineno}); restore it.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8; restore it.") from error
    if not isinstance(value, kinds):
        raise UserError(f"{path} holds no JSON object; restore it.")
    return value


def _read_config(path: pathlib.Path) -> Config:
    return config_lib.from_dict(read_json(path))
