"""Which words go together: the lexicon's selections as lists to draw from.

A fraction of the (adjective, noun) and (verb, object) pairs is reserved by a hash of their English
words: training never shows them, `test_novel` does.
"""

import zlib
from functools import cache
from typing import NamedTuple

from transformer.data.grammar.lexicon import (
    ACCUSATIVE,
    ADJECTIVES,
    CITIES,
    DATIVE,
    NOUNS,
    PLACES,
    VERBS,
    Adjective,
    Name,
    Noun,
    Preposition,
    Verb,
)
from transformer.data.grammar.syntax import Both, Clause, NounPhrase, Sentence, nodes

_RESERVED_ONE_IN = 12
_ENOUGH = 5  # fewer choices than this are never reserved


class Choices(NamedTuple):
    """What a word combines with: all of it, and what training shows of it."""

    all: tuple
    seen: tuple
    reserved: frozenset


def _choices(word: str, partners: tuple, noun_first: bool = False) -> Choices:
    def is_reserved(partner) -> bool:
        pair = f"{partner.english} {word}" if noun_first else f"{word} {partner.english}"
        return zlib.crc32(pair.encode()) % _RESERVED_ONE_IN == 0

    reserved = frozenset(filter(is_reserved, partners) if len(partners) >= _ENOUGH else ())
    seen = tuple(partner for partner in partners if partner not in reserved)
    return Choices(partners, seen, reserved) if seen else Choices(partners, partners, frozenset())


@cache
def members(selection: tuple[str, ...]) -> tuple[Noun, ...]:
    """The nouns of the classes or lemmas named, in the lexicon's order, each once."""
    names = set(selection)
    return tuple(noun for noun in NOUNS if noun.english in names or noun.classes & names)


def verb_key(verb: Verb) -> str:
    """The verb as English says it, particle included."""
    return f"{verb.english} {verb.particle}".strip()


@cache
def objects(verb: Verb) -> Choices:
    """The nouns that the verb can have as its (accusative, dative or prepositional) object."""
    return _choices(verb_key(verb), members(verb.objects))


@cache
def adjectives(noun: Noun) -> Choices:
    """The adjectives that describe the noun."""
    fitting = (
        adjective
        for adjective in ADJECTIVES
        if noun.english in adjective.classes or noun.classes & adjective.classes
    )
    return _choices(noun.english, tuple(fitting), noun_first=True)


@cache
def comparable(adjective: Adjective, noun: Noun) -> tuple[Noun, ...]:
    """The nouns that the noun can be compared with: of a kind, and seen with the adjective."""
    shared = tuple(sorted(adjective.classes & noun.classes))
    return tuple(
        other
        for other in members(shared)
        if other is not noun and adjective not in adjectives(other).reserved
    )


@cache
def verbs_with_subject(noun: Noun | None, frames: frozenset[str]) -> tuple[Verb, ...]:
    """The verbs of some frames that the noun (None: any person) can be the subject of."""
    return tuple(
        verb
        for verb in VERBS
        if verb.frame in frames
        and ("human" in verb.subjects if noun is None else noun in members(verb.subjects))
    )


@cache
def verbs_with_object(noun: Noun, frames: frozenset[str], seen: bool) -> tuple[Verb, ...]:
    """The verbs of some frames, with a person for a subject, that the noun can be the object of."""
    return tuple(
        verb
        for verb in verbs_with_subject(None, frames)
        if noun in (objects(verb).seen if seen else objects(verb).all)
    )


_preposition = cache(Preposition)


def _german_goal(german: str, noun: Noun | Name) -> str:
    """What "to" is before this noun: ins Kino, zum Bahnhof."""
    if german != "?":
        return german
    return "in" if isinstance(noun, Noun) and "goal" in noun.classes else "zu"


@cache
def places(selection: tuple[str, ...], kind: str) -> tuple[tuple[Preposition, Noun | Name], ...]:
    """Where one can be ("static"), go ("directional"), put something, or come from ("origin")."""
    table = PLACES[kind]
    found = {}
    for name in selection:
        nouns = CITIES if name == "cities" else members((name,))
        for noun in nouns:
            classes = {name} if name in table else noun.classes | {noun.english}
            for place in sorted(classes & table.keys() if isinstance(noun, Noun) else {name}):
                for english, german in table[place]:
                    german = _german_goal(german, noun)
                    dative = kind in ("static", "origin") or german in ("zu", "nach")
                    case = DATIVE if dative else ACCUSATIVE
                    found[english, noun.english] = (_preposition(english, german, case), noun)
    return tuple(found.values())


def reserved_pairs(sentence: Sentence) -> set[tuple[str, str]]:
    """The (adjective, noun) and (verb, object) pairs in the sentence that training never shows."""
    found = set()
    for node in nodes(sentence):
        if isinstance(node, NounPhrase):
            for adjective in adjectives(node.noun).reserved.intersection(node.adjectives):
                found.add((adjective.english, node.noun.english))
        elif isinstance(node, Clause):
            subject, predicate = node.subject, node.predicate
            if predicate is not None and isinstance(subject, NounPhrase):
                if predicate.adjective in adjectives(subject.noun).reserved:
                    found.add((predicate.adjective.english, subject.noun.english))
            elif node.verb is not None:
                for phrase in _governed(node):
                    if phrase.noun in objects(node.verb).reserved:
                        found.add((verb_key(node.verb), phrase.noun.english))
    return found


def _governed(clause: Clause) -> list[NounPhrase]:
    role = {"dat": "indirect", "prep": "oblique"}.get(clause.verb.frame, "object")
    governed = getattr(clause, role)
    both = (governed.first, governed.second) if isinstance(governed, Both) else (governed,)
    return [phrase for phrase in both if isinstance(phrase, NounPhrase)]
