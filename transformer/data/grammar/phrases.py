"""Random noun phrases, prepositional phrases and adverbs, with their weights."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, TypeVar

from transformer.data.grammar import lexicon as lex
from transformer.data.grammar.lexicon import DETERMINERS, PRONOUNS, Adjective, Name, Noun
from transformer.data.grammar.selection import Choices, adjectives, members
from transformer.data.grammar.syntax import (
    Adverb,
    Both,
    NamePhrase,
    Nominal,
    NounPhrase,
    PrepositionPhrase,
    PronounPhrase,
)

Item = TypeVar("Item")
Novelty = Literal["", "combination", "depth"]


def weighted(**weights: int) -> tuple[str, ...]:
    """Each name as often as its weight says, to draw from uniformly."""
    return tuple(name for name, weight in weights.items() for _ in range(weight))


# How a noun phrase begins, by what it is used for.
SUBJECT = weighted(
    the=46, a=8, possessive=14, this=8, every=4, no=2, number=5, the_number=2, bare=4, quantity=7
)
OBJECT = weighted(the=35, a=27, possessive=13, this=5, number=8, bare=7, quantity=5)
PLAIN = weighted(the=60, a=14, possessive=18, this=8)
DESCRIBED = weighted(the=56, possessive=18, this=14, every=4, number=3, quantity=5)
DEFINITE = weighted(the=70, possessive=30)
EXISTING = weighted(a=50, no=10, number=25, quantity=15)
_MASS = weighted(bare=45, the=35, possessive=10, this=10)
_SINGULAR_OR_PLURAL = frozenset(("the", "possessive", "this"))
_PLURAL = frozenset(("number", "the_number", "bare", "quantity"))
_POSSESSIVES = tuple(DETERMINERS[word] for word in "my your his her our their".split())
_QUANTITIES = tuple(DETERMINERS[word] for word in "many some several all".split())
_EXISTING_QUANTITIES = tuple(DETERMINERS[word] for word in "many some several".split())
_PERSONAL = tuple(PRONOUNS[word] for word in "I you he she we they".split())
_PARTS = frozenset("door window roof wall room garden kitchen cellar balcony".split())
_OWNERS_OF_PARTS = members(("house", "hotel", "castle", "school", "museum", "church"))
_OWNERS = members(("human",))
_KIN = "friend neighbor colleague mother father brother sister aunt uncle son daughter".split()
_RELATED = frozenset(_KIN).union(
    "boss nephew teacher doctor lawyer guest grandmother grandfather".split()
)
_OWNED = frozenset(
    "thing clothing vehicle furniture pet readable question idea plan mistake secret answer".split()
).union(_KIN, ("house", "garden", "room", "kitchen", "office", "boss", "nephew"))
_OPPOSITES = tuple(
    set(pair.split("/"))
    for pair in "old/new old/young big/small tall/small happy/sad rich/poor healthy/sick fast/slow "
    "expensive/cheap beautiful/ugly long/short dirty/clean sweet/sour hot/cold dark/bright "
    "interesting/boring difficult/easy good/bad exciting/boring lazy/diligent old/modern "
    "quiet/loud old/fresh".split()
)
_EVENTS = members(("event",))
_CAUSES = members(("cause",))
_WEATHER = next(noun for noun in lex.NOUNS if noun.english == "weather")
_TIMES = {
    tense: tuple(phrase for phrase in lex.TIMES if tense in phrase.tenses.split())
    for tense in ("present", "past", "future")
}
_COUNTED_TIMES = {
    tense: tuple(phrase for phrase in lex.COUNTED_TIMES if tense in phrase.tenses.split())
    for tense in ("present", "past", "future")
}
_EVENT_PREPOSITIONS = (lex.BEFORE, lex.AFTER, lex.DURING)
_CAUSE_PREPOSITIONS = (lex.BECAUSE_OF, lex.DESPITE)


class Phrases:
    """Draws phrases; `novelty` says which reserved kind of novelty may appear.

    `depth` tells how deep the clauses of the sentence nest.
    """

    def __init__(self, rng: Random, novelty: Novelty = ""):
        self.random: Callable[[], float] = rng.random
        self.novelty = novelty
        self.level = self.depth = 0

    def pick(self, items: Sequence[Item]) -> Item:
        """Draws uniformly; only `Random.random` is used, which no Python version changes."""
        return items[int(self.random() * len(items))]

    def chance(self, probability: float) -> bool:
        """True with the probability given."""
        return self.random() < probability

    def choose(self, choices: Choices) -> Noun | Adjective:
        """Draws a partner for a word: a seen one, unless reserved combinations are asked for."""
        return self.pick(choices.all if self.novelty == "combination" else choices.seen)

    def number(self) -> int:
        """Mostly a small number, sometimes up to 99."""
        return 2 + int(self.random() * (11 if self.chance(0.65) else 98))

    def noun_phrase(
        self,
        noun: Noun,
        table: Sequence[str] = PLAIN,
        adjective: float = 0.27,
        owner: float = 0.06,
        plural: float = 0.2,
    ) -> NounPhrase:
        """A noun with article, number, adjectives and owner; no relative clause."""
        mass = "mass" in noun.classes
        kind = self.pick(_MASS if mass and "a" in table else table)
        if kind == "possessive" and "human" in noun.classes and noun.english not in _RELATED:
            kind = "the"
        phrase = NounPhrase(noun)
        if kind in _SINGULAR_OR_PLURAL:
            phrase.plural = not mass and self.chance(plural)
        else:
            phrase.plural = not mass and kind in _PLURAL
        if kind == "number" or kind == "the_number":
            phrase.number = self.number()
        if kind == "possessive":
            phrase.determiner = self.pick(_POSSESSIVES)
        elif kind == "quantity":
            phrase.determiner = self.pick(
                _EXISTING_QUANTITIES if table is EXISTING else _QUANTITIES
            )
        elif kind == "the_number":
            phrase.determiner = DETERMINERS["the"]
        elif kind != "number" and kind != "bare":
            phrase.determiner = DETERMINERS[kind]
        if kind == "the" and self.chance(owner):
            self._add_owner(phrase)
        if self.chance(adjective):
            self.add_adjectives(phrase)
        return phrase

    def _add_owner(self, phrase: NounPhrase) -> None:
        noun = phrase.noun
        if noun.english in _PARTS and self.chance(0.6):
            phrase.owner = NounPhrase(self.pick(_OWNERS_OF_PARTS), DETERMINERS["the"])
        elif noun.english in _OWNED or noun.classes & _OWNED:
            if self.chance(0.5):
                phrase.owner = NamePhrase(self.pick(lex.NAMES))
                phrase.determiner = None
            else:
                owner = self.pick(_OWNERS)
                if owner is not noun:
                    phrase.owner = self.noun_phrase(owner, PLAIN, 0.2, 0.0)

    def add_adjectives(self, phrase: NounPhrase) -> None:
        """One adjective, seldom two, perhaps with "very" or in the comparative."""
        choices = adjectives(phrase.noun)
        if not choices.all:
            return
        first = self.choose(choices)
        phrase.adjectives = (first,)
        style = self.random()
        if style < 0.1:
            second = self.choose(choices)
            if second is not first and {first.english, second.english} not in _OPPOSITES:
                phrase.adjectives = (first, second)
        elif style < 0.2 and first.german_comparative:
            phrase.very = True
        elif style < 0.28 and first.german_comparative:
            phrase.degree = "comparative"

    def pronoun(self, other: Nominal | None = None) -> PronounPhrase | None:
        """A personal pronoun that does not refer to the same person as `other`."""
        pronoun = self.pick(_PERSONAL)
        if isinstance(other, PronounPhrase):
            both = {pronoun.english, other.pronoun.english}
            if len(both) == 1 or both == {"I", "we"}:
                return None
        return PronounPhrase(pronoun)

    def person(self, pronouns: float, other: Nominal | None = None) -> Nominal | None:
        """A pronoun, a name or None: then the caller draws a noun."""
        draw = self.random()
        if draw < pronouns:
            return self.pronoun(other)
        if draw < pronouns + 0.1:
            name = self.pick(lex.NAMES)
            same = isinstance(other, NamePhrase) and other.name is name
            return None if same else NamePhrase(name)
        return None

    def both(self, nouns: Sequence[Noun]) -> Both | None:
        """Two different noun phrases joined by "and"."""
        first, second = self.pick(nouns), self.pick(nouns)
        if first is second:
            return None
        return Both(
            self.noun_phrase(first, DEFINITE, 0.15, 0.0),
            self.noun_phrase(second, DEFINITE, 0.15, 0.0),
        )

    def place(self, candidates) -> PrepositionPhrase:
        """One of the (preposition, noun or city) pairs as a phrase."""
        preposition, where = self.pick(candidates)
        if isinstance(where, Name):
            return PrepositionPhrase(preposition, NamePhrase(where))
        return PrepositionPhrase(preposition, self.noun_phrase(where, PLAIN, 0.2, 0.04, 0.06))

    def time(self, tense: str) -> Adverb | PrepositionPhrase:
        """A time or circumstance that goes with the tense."""
        draw = self.random()
        if draw < 0.6:
            return Adverb(self.pick(_TIMES[tense]))
        if draw < 0.8:
            phrase = self.pick(_COUNTED_TIMES[tense])
            if "o'clock" in phrase.english:
                return Adverb(phrase, 2 + int(self.random() * 11))
            return Adverb(phrase, self.number())
        if draw < 0.92:
            event = self.noun_phrase(self.pick(_EVENTS), DEFINITE, 0.15, 0.0)
            event.plural = False
            return PrepositionPhrase(self.pick(_EVENT_PREPOSITIONS), event)
        cause = self.noun_phrase(self.pick(_CAUSES), ("the",), 0.25, 0.0)
        if cause.noun is _WEATHER and cause.adjectives:
            cause.determiner = None
        return PrepositionPhrase(self.pick(_CAUSE_PREPOSITIONS), cause)
