"""The folder of a run, read and checked, as the one thing that a report is made from.

Reporting stands above training: it reads what training wrote, and nothing below knows of it.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from transformer.config import Config
from transformer.data.corpus import split_lines
from transformer.errors import UserError
from transformer.model.encoder_decoder import split
from transformer.training import workdir as workdir_lib
from transformer.training.step import abstract_model

Record = dict[str, Any]

# The numbers that the report asks of each record of metrics.jsonl; other kinds are passed over.
_TRAIN_NUMBERS = ("loss", "nll", "learning_rate", "tokens", "tokens_per_second")
_VALIDATION_NUMBERS = ("loss", "perplexity", "accuracy", "bleu", "seconds")
_NUMBER = int | float


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
      workdir: the folder.
      config: of the experiment, as it was last trained.
      vocab_size: V, number of pieces of the vocabulary.
      parameters: number of weights.
      environment: what the run was started with, see `workdir.describe`.
      data: statistics of the training pairs, see `workdir.describe_data`; None in the folder of a
        version that did not write them.
      train: records of training in the order of their steps.
      validation: records of validations of the weights of that step, likewise.
      averages: records of validations of averaged weights, likewise; `kind` says of how many.
      scores: results of evaluations by name: each has metrics with their signatures.
    """

    workdir: pathlib.Path
    config: Config
    vocab_size: int
    parameters: int
    environment: dict[str, Any]
    data: dict[str, Any] | None
    train: list[Record]
    validation: list[Record]
    averages: list[Record]
    scores: dict[str, Record]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.workdir.resolve().name

    @property
    def last_step(self) -> int:
        """The last step that was logged."""
        return self.train[-1]["step"]

    @property
    def final(self) -> Record | None:
        """The last validation, that of averaged weights where there is one of the same step."""
        # Of equals, max takes the first.
        return max(self.averages + self.validation, key=lambda r: r["step"], default=None)


def read_run(workdir: pathlib.Path, score_files: Sequence[pathlib.Path] = ()) -> Run:
    """Reads a run's folder, while it is being trained or later.

    Args:
      workdir: the folder. JSON files in it that hold scores, as `experiments/evaluate.py` prints
        them, are read as well.
      score_files: further files with scores.

    Raises:
      UserError: `workdir` is not the folder of a run, nothing was logged yet, a file is damaged
        (a line of metrics.jsonl is named by its number), or one of `score_files` holds no score.
    """
    config, tokenizer = workdir_lib.load(workdir)
    for name in (workdir_lib.ENVIRONMENT, workdir_lib.METRICS):
        if not (workdir / name).exists():
            raise UserError(f"{workdir} holds no {name}: its training has not begun yet.")
    records = read_records(workdir / workdir_lib.METRICS)
    train = [record for record in records if record["kind"] == "train"]
    if not train:
        raise UserError(
            f"{workdir / workdir_lib.METRICS} holds no record of training; let the run reach step "
            f"{config.training.log_every} (config.training.log_every) first."
        )
    _, shapes = split(abstract_model(config.model, tokenizer.vocab_size))
    data = workdir / workdir_lib.DATA
    return Run(
        workdir=workdir,
        config=config,
        vocab_size=tokenizer.vocab_size,
        parameters=sum(math.prod(array.shape) for array in jax.tree.leaves(shapes)),
        environment=workdir_lib.read_json(workdir / workdir_lib.ENVIRONMENT),
        data=workdir_lib.read_json(data) if data.exists() else None,
        train=train,
        validation=[record for record in records if record["kind"] == "validation"],
        averages=[record for record in records if record["kind"].startswith("average of ")],
        scores=_read_scores(workdir, score_files),
    )


def read_records(path: pathlib.Path) -> list[Record]:
    """The records of a metrics.jsonl in the order of their steps.

    Where a run went back to an earlier step, what it had logged beyond is left out: the later
    record wins. So is a last line without its end, for it is still being written.

    Raises:
      UserError: the file cannot be read, or a line is damaged.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    records: list[Record] = []
    for number, line in enumerate(split_lines(raw[: raw.rfind(b"\n") + 1], str(path)), 1):
        if (record := _record(line)) is None:
            raise UserError(f"{path}, line {number}: not a record of a run; remove that line.")
        while records and records[-1]["step"] > record["step"]:
            records.pop()
        records.append(record)
    return list({(record["kind"], record["step"]): record for record in records}.values())


def _record(line: str) -> Record | None:
    """The record of a line, None if it is damaged."""
    try:
        record = json.loads(line)
        kind, step = record["kind"], record["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None
    if not (isinstance(kind, str) and isinstance(step, int)):
        return None
    if kind == "train":
        numbers = _TRAIN_NUMBERS
    elif kind == "validation" or kind.startswith("average of "):
        numbers = _VALIDATION_NUMBERS
    else:
        numbers = ()
    return record if all(isinstance(record.get(key), _NUMBER) for key in numbers) else None


def _read_scores(workdir: pathlib.Path, score_files: Sequence[pathlib.Path]) -> dict[str, Record]:
    known = {workdir_lib.CONFIG, workdir_lib.DATA, workdir_lib.ENVIRONMENT}
    scores: dict[str, Record] = {}
    for path in sorted(workdir.glob("*.json")):
        if path.name not in known:
            scores |= _scores_in(path, path.name)
    for path in score_files:
        found = _scores_in(path, str(path))
        if not found:
            raise UserError(
                f"{path} holds no score; it must be what experiments/evaluate.py prints."
            )
        scores |= found
    return scores


def _scores_in(path: pathlib.Path, name: str) -> dict[str, Record]:
    """The results in a file; a list, such as experiments/averages.py prints, holds none."""
    return _scores_of(name, workdir_lib.read_json(path, (dict, list)))


def _scores_of(name: str, value: Any) -> dict[str, Record]:
    """The results in a JSON value: itself, or those of its keys (the demo's has two)."""
    if not isinstance(value, dict):
        return {}
    if isinstance(value.get("bleu"), _NUMBER) and "bleu_signature" in value:
        return {name: value}
    found: dict[str, Record] = {}
    for key, part in value.items():
        found |= _scores_of(f"{name}: {key}", part)
    return found
