"""The trees of the built-in grammar: one structure that both languages put into words.

A tree says who does what to whom, never in which order: word order, agreement, case and auxiliary
verbs are the business of `english.py` and `german.py`. Both write tokens that name the node and
the part of it that they express, so that the word alignment of a pair is known, not estimated.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

from transformer.data.grammar.lexicon import (
    Adjective,
    Conjunction,
    Determiner,
    Modal,
    Name,
    Noun,
    Phrase,
    Preposition,
    Pronoun,
    Verb,
)

Role = Literal["", "subject", "object", "indirect", "oblique", "place", "time"]


# A word, the node and the part of it that the word expresses. An empty word lends its origin to the
# word before it. A plain tuple, since a corpus makes millions of them.
Token = tuple[str, object, str]


@dataclasses.dataclass(slots=True, eq=False)
class NounPhrase:
    """A noun with what stands around it; `degree` is the adjectives': "" or "comparative"."""

    noun: Noun
    determiner: Determiner | None = None
    adjectives: tuple[Adjective, ...] = ()
    plural: bool = False
    number: int = 0  # written out if positive
    degree: str = ""
    very: bool = False
    owner: "NounPhrase | NamePhrase | None" = None  # in place of the determiner
    relative: "Relative | None" = None


@dataclasses.dataclass(slots=True, eq=False)
class NamePhrase:
    """A person's or a city's name."""

    name: Name


@dataclasses.dataclass(slots=True, eq=False)
class PronounPhrase:
    """A personal, expletive or interrogative pronoun."""

    pronoun: Pronoun


@dataclasses.dataclass(slots=True, eq=False)
class Both:
    """Two phrases joined by "and"."""

    first: "NounPhrase | NamePhrase"
    second: "NounPhrase | NamePhrase"


Nominal = NounPhrase | NamePhrase | PronounPhrase | Both


@dataclasses.dataclass(slots=True, eq=False)
class PrepositionPhrase:
    """A preposition and what it governs."""

    preposition: Preposition
    nominal: Nominal


@dataclasses.dataclass(slots=True, eq=False)
class Adverb:
    """An adverb or fixed phrase; a positive `number` fills the blank of a counted one."""

    phrase: Phrase
    number: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class Predicate:
    """What the copula says: an adjective in some degree, a nominal, or years of age."""

    adjective: Adjective | None = None
    degree: Phrase | None = None
    comparison: Literal["", "more", "equal"] = ""
    standard: Nominal | None = None  # than whom
    nominal: NounPhrase | None = None
    age: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class Subordinate:
    """A clause behind a conjunction or a question word; its verb goes last in German."""

    conjunction: Conjunction
    clause: "Clause"


@dataclasses.dataclass(slots=True, eq=False)
class Infinitive:
    """A clause without a subject of its own: "to ..." or, with `purpose`, "in order to ..."."""

    clause: "Clause"
    purpose: bool = False


@dataclasses.dataclass(slots=True, eq=False)
class Relative:
    """A relative clause: `role` is the noun's part in it, "owner" for whose."""

    clause: "Clause"
    role: str


@dataclasses.dataclass(slots=True, eq=False)
class Clause:
    """A verb with everything around it; `verb` None is the copula, "there" + None is "es gibt".

    `oblique` is the nominal behind the preposition that the verb itself governs, `partner` a free
    "with", "without" or "for" phrase. `front` is the part that German (and English) moves to the
    beginning of a main clause or question.
    """

    subject: Nominal
    verb: Verb | None = None
    past: bool = False
    modal: Modal | None = None
    negated: bool = False
    object: Nominal | None = None
    indirect: Nominal | None = None
    oblique: Nominal | None = None
    predicate: Predicate | None = None
    partner: PrepositionPhrase | None = None
    manner: Adverb | None = None
    place: PrepositionPhrase | None = None
    time: Adverb | PrepositionPhrase | None = None
    frequency: Adverb | None = None
    complement: Subordinate | Infinitive | None = None
    front: Role = ""


@dataclasses.dataclass(slots=True, eq=False)
class Sentence:
    """A main clause or question and what is joined to it.

    `wh` asks with an adverb (where, when, why); `second` follows `coordinator` ("and", "but") and
    shares the subject if it is the same node.
    """

    main: Clause
    question: bool = False
    wh: Conjunction | None = None
    comment: Adverb | None = None
    subordinate: Subordinate | None = None
    subordinate_first: bool = False
    coordinator: Conjunction | None = None
    second: Clause | None = None


def nodes(tree: Sentence) -> Iterator[object]:
    """All nodes below a sentence, each once, the sentence included."""
    seen, stack = set(), [tree]
    while stack:
        node = stack.pop()
        if type(node) in _NODES and node not in seen:
            seen.add(node)
            yield node
            stack.extend(getattr(node, field.name) for field in dataclasses.fields(node))


_NODES = frozenset(
    (
        NounPhrase,
        NamePhrase,
        PronounPhrase,
        Both,
        PrepositionPhrase,
        Adverb,
        Predicate,
        Subordinate,
        Infinitive,
        Relative,
        Clause,
        Sentence,
    )
)
