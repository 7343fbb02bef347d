"""The sentences of the model card: each says something that the run's own record shows.

Nothing is said because every model card says it; where the record does not tell, neither does the
card.
"""

import pathlib

from transformer.reporting.run import Run
from transformer.reporting.wording import count
from transformer.visualization.html import Element, bullets, element, facts

# Nats a token by which validation may lie above training, both without smoothing, before the card
# speaks of it: training's loss is taken with dropout on, so that it would rather be the higher one.
_OVERFITTING = 0.2


def describe(run: Run) -> list[Element]:
    """The section of the page: facts, intended use, limitations."""
    source, target = run.config.data.languages
    model = run.config.model
    return [
        facts(
            [
                ("Model", f"encoder-decoder Transformer, {count(run.parameters)} parameters"),
                (
                    "Sizes",
                    f"N {model.num_layers}, d_model {model.d_model}, d_ff {model.d_ff}, "
                    f"h {model.num_heads}, d_k {model.d_k}, d_v {model.d_v}",
                ),
                ("Languages", f"{source} → {target}"),
                (
                    "Vocabulary",
                    f"{count(run.vocab_size)} pieces shared by both languages (SentencePiece, "
                    f"{run.config.data.vocab_type})",
                ),
                ("Training text", training_text(run)),
                ("Licence", "to be stated by whoever publishes the weights"),
            ]
        ),
        element("h3", "Intended use"),
        bullets(intended_use(run)),
        element("h3", "Limitations"),
        bullets(limitations(run)),
    ]


def training_text(run: Run) -> str:
    """Where the training pairs come from."""
    data = run.config.data
    if data.source == "grammar":
        return f"sentences of the built-in English-German grammar (seed {run.config.seed})"
    if data.source == "tfds":
        return f"{data.tfds_name} of TensorFlow Datasets"
    if data.source == "prepared":
        return f"the prepared folder {pathlib.PurePath(data.prepared_dir).name}"
    return " and ".join(pathlib.PurePath(path).name for path in data.train)


def intended_use(run: Run) -> list[str]:
    """What the model was made for."""
    source, target = run.config.data.languages
    return [
        f"It translates text from {source} to {target}, and in no other direction: a sentence at "
        "a time, without knowledge of the sentences around it.",
        "It is a run of a reference implementation of “Attention Is All You Need” (Vaswani et al. "
        "2017): made to study the method, to be measured and to be compared with the paper.",
    ]


def limitations(run: Run) -> list[str]:
    """What the record shows the model cannot do, or cannot be said to do."""
    return [*_text_it_never_saw(run), *_what_scores_do_not_say(run), *_state_of_training(run)]


def _text_it_never_saw(run: Run) -> list[str]:
    data = run.config.data
    pairs = f"{count(run.data['pairs'])} pairs of " if run.data else ""
    if data.source == "grammar":
        kinds = "It knows the words and constructions of that grammar, and no others."
    else:
        kinds = "Words and kinds of text that these lack are new to it."
    dropped = run.data["dropped"].get("too long", 0) if run.data else 0
    left_out = f" ({count(dropped)} pairs were)" if dropped else ""
    return [
        f"All that it was trained on is {pairs}{training_text(run)}. {kinds}",
        f"Longer sentences than {data.max_length} tokens of its vocabulary were left out of "
        f"training{left_out}, and a translation has at most {run.config.decoding.max_extra_length} "
        "tokens more than its source.",
    ]


def _what_scores_do_not_say(run: Run) -> list[str]:
    if not run.final:
        return ["It was not validated: how well it translates is not known."]
    said = []
    if not run.scores:
        kept = run.config.training.keep_best
        chosen = " and decided which checkpoint was kept as the best" if kept else ""
        said.append(
            "No score on test text is recorded here. The validation pairs were scored throughout "
            f"training{chosen}: their BLEU may flatter the model."
        )
    if run.config.training.bleu_tokenize == "none":
        said.append("Its validation BLEU is of text tokenised beforehand, with tokenizer “none”.")
    return said


def _state_of_training(run: Run) -> list[str]:
    training, said = run.config.training, []
    if run.last_step < training.num_steps:
        why = " or was stopped by its patience" if training.patience else ""
        said.append(
            f"Training stands at step {count(run.last_step)} of {count(training.num_steps)}: it "
            f"was not finished when this page was made{why}."
        )
    if len(run.validation) < 2:
        return said
    best = max(run.validation, key=lambda record: record["bleu"])
    before, last = run.validation[-2:]
    if last is best:
        said.append(
            "Validation BLEU was still rising when it was last measured "
            f"({before['bleu']:.2f}, then {last['bleu']:.2f}): more steps may raise it further."
        )
    else:
        said.append(
            f"Validation BLEU was highest at step {count(best['step'])} ({best['bleu']:.2f}) and "
            f"is {last['bleu']:.2f} at step {count(last['step'])}."
        )
    trained = [record for record in run.train if record["step"] <= last["step"]][-1:]
    if trained and last["loss"] - trained[0]["nll"] > _OVERFITTING:
        said.append(
            f"Its loss on validation pairs is {last['loss']:.2f} nats a token, on training pairs "
            f"{trained[0]['nll']:.2f} (with dropout {run.config.model.dropout_rate}): it fits its "
            "training text better than other text."
        )
    return said
