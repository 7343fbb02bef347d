"""What a run cost: its training FLOPs beside the paper's Table 2, and the hours of its devices."""

from typing import NamedTuple

from transformer.model.flops import training_flops
from transformer.reporting.run import Run


class PaperRow(NamedTuple):
    """A row of Table 2: BLEU on newstest2014, and the FLOPs of the training run."""

    model: str
    bleu_en_de: float
    bleu_en_fr: float
    training_flops: float


PAPER_ROWS = (
    PaperRow("Transformer (base), Table 2", 27.3, 38.1, 3.3e18),
    PaperRow("Transformer (big), Table 2", 28.4, 41.8, 2.3e19),
)


class Seen(NamedTuple):
    """What training went through so far, by the statistics of its data."""

    epochs: float
    pairs: float
    source_length: float  # mean of an epoch, in tokens with the end token
    target_length: float
    flops_per_pair: float  # of forward and backward pass, at these lengths
    training_flops: float


class Cost(NamedTuple):
    """Seconds are those that the log can tell of; lost and repeated work is not in them."""

    seen: Seen | None  # None: the run's folder has no statistics of its data
    target_tokens: float  # logged
    training_seconds: float
    validation_seconds: float
    devices: int

    @property
    def device_hours(self) -> float:
        """Of training and validation, all devices together."""
        return self.devices * (self.training_seconds + self.validation_seconds) / 3600

    @property
    def flops_per_second(self) -> float | None:
        """Training FLOPs by seconds of training, all devices together."""
        return self.seen and self.seen.training_flops / max(self.training_seconds, 1e-9)


def cost_of(run: Run) -> Cost:
    """Adds up what the records of `run` say.

    Time is not logged, but each record has its target tokens and its speed: seconds are their
    quotients. Pairs are steps by the steps of an epoch, times the pairs of an epoch.
    """
    return Cost(
        seen=_seen(run),
        target_tokens=sum(record["tokens"] for record in run.train),
        training_seconds=sum(
            record["tokens"] / record["tokens_per_second"]
            for record in run.train
            if record["tokens_per_second"]
        ),
        validation_seconds=sum(record["seconds"] for record in run.validation + run.averages),
        devices=len(run.environment.get("devices", [])) or 1,
    )


def _seen(run: Run) -> Seen | None:
    if run.data is None:
        return None
    pairs = run.data["pairs"]
    source_length, target_length = (
        run.data[f"{side}_tokens"] / pairs for side in ("source", "target")
    )
    epochs = run.last_step / run.data["steps_per_epoch"]
    flops = training_flops(run.config.model, run.vocab_size, source_length, target_length)
    return Seen(epochs, epochs * pairs, source_length, target_length, flops, epochs * pairs * flops)
