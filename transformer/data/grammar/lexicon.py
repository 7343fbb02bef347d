"""The words of the built-in English-German grammar as entries: the tables of `words.py`, parsed."""

import dataclasses
from typing import Literal

from transformer.data.grammar import words

NOMINATIVE, ACCUSATIVE, DATIVE, GENITIVE = range(4)
_CASES = {"acc": ACCUSATIVE, "dat": DATIVE, "gen": GENITIVE}


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Noun:
    """A common noun; `german_genitive` is singular, an empty plural marks a mass noun."""

    english: str
    english_plural: str
    gender: Literal[0, 1, 2]  # der, die, das
    german: str
    german_genitive: str
    german_plural: str
    classes: frozenset[str]

    @property
    def weak(self) -> bool:
        """Whether it is of the n-declension: der Student, den Studenten."""
        return self.gender == 0 and self.german_genitive.endswith("n")


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A person's or a city's name."""

    english: str
    german: str


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Adjective:
    """An adjective; empty comparatives mark one that has no degrees."""

    english: str
    english_comparative: str
    german: str
    german_comparative: str
    classes: frozenset[str]
    lasting: bool  # whether it is odd to say when somebody is so


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Determiner:
    """An article or its like; `pattern` says which endings it takes and which it calls for."""

    english: str
    english_plural: str
    german: str  # the stem, or the bare form
    pattern: Literal["definite", "der", "ein", "strong", "none"]

    definite: bool  # the, this, my, all pick out something known; a, no, many do not


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Pronoun:
    """A personal or interrogative pronoun; german in the nominative, accusative, dative."""

    english: str
    english_object: str
    german: tuple[str, str, str]
    reflexive: str
    person: int  # 0 ich, 1 du, 2 er/sie/es/wer, 3 wir/sie


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Preposition:
    """A preposition in one use: a two-way preposition has two entries."""

    english: str
    german: str
    case: int


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Phrase:
    """An adverb or a fixed adverbial; `tenses` are those it can stand with."""

    english: str
    german: str
    tenses: str = "present past future"


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Modal:
    """A verb that takes an infinitive; `lexical` ones are negated with "do" in English."""

    english: str
    english_third: str
    english_base: str
    german: tuple[str, str, str, str]
    tense: str = "present"
    lexical: bool = False


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Verb:
    """A verb in one frame: what it governs, who can do it, and to what."""

    english: str
    english_past: str
    particle: str
    german: str  # infinitive without the separable prefix
    prefix: str
    third: str  # er-form of the present, without the prefix
    participle: str
    auxiliary: Literal["haben", "sein"]
    reflexive: bool
    frame: str  # first word of the table's third column
    preposition: Preposition | None
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    adjuncts: frozenset[str]
    further: tuple[str, ...] = ()  # places of the frame "put", other complements than "that"
    preterite: str = ""  # er-form where it is preferred to the perfect


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Conjunction:
    """A subordinating conjunction (or question word) and the tenses of its clause."""

    english: str
    german: str
    german_past: str  # "als" where the present has "wenn"
    tenses: str = "present past"


def _rows(table: str) -> list[list[str]]:
    """The cells of each line, split at bars."""
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def _english_plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")


def _parse_nouns() -> tuple[Noun, ...]:
    nouns, header = [], ""
    for line in filter(None, words.NOUNS.splitlines()):
        if line.startswith("["):
            header = line.strip("[]")
            continue
        english, german, *extra = (cell.strip() for cell in line.split("|"))
        singular, _, plural = english.partition("/")
        article, nominative, genitive, *german_plural = german.split()
        nouns.append(
            Noun(
                singular,
                plural or _english_plural(singular),
                ("der", "die", "das").index(article),
                nominative,
                nominative if genitive == "-" else genitive,
                german_plural[0] if german_plural else "",
                frozenset([*header.split(), *" ".join(extra).split()]),
            )
        )
    return tuple(nouns)


def _parse_verb(row: list[str]) -> Verb:
    english, german, frame, subjects, objects, adjuncts = row
    english, _, past = (part.strip() for part in english.partition(","))
    base, *particle = english.split("_")
    reflexive = german.startswith("sich ")
    infinitive, third, auxiliary, participle = german.removeprefix("sich ").split()
    prefix, _, bare = infinitive.rpartition("+")
    third, _, preterite = third.partition("/")
    frame, *rest = frame.split()
    preposition = None
    if frame == "prep":
        preposition = Preposition(rest[0].strip("-"), rest[1], _CASES[rest[2]])
    return Verb(
        base,
        past,
        " ".join(particle),
        bare,
        prefix,
        third,
        participle,
        "sein" if auxiliary == "ist" else "haben",
        reflexive,
        frame,
        preposition,
        tuple(subjects.strip("-").split()),
        tuple(objects.strip("-").split()),
        frozenset(adjuncts.strip("-").split()),
        tuple(rest) if frame in ("put", "that") else (),
        preterite,
    )


def _parse_adjective(row: list[str]) -> Adjective:
    english, german, classes = row
    base, _, comparative = english.partition(" ")
    plain, _, german_comparative = german.partition(" ")
    if not base.endswith("!"):
        comparative = comparative or f"more {base}"
    return Adjective(
        base.rstrip("!"),
        comparative,
        plain,
        german_comparative,
        frozenset(classes.split()),
        base.rstrip("!") not in words.PASSING,
    )


def _parse_modal(row: list[str]) -> Modal:
    base, third, infinitive = (form.replace("_", " ") for form in row[0].split())
    lexical = "lexical" in row
    return Modal(base, third, infinitive, tuple(row[1].split()), *row[2:3], lexical=lexical)


def _parse_names(names: str) -> tuple[Name, ...]:
    pairs = (name.partition("/") for name in names.split())
    return tuple(Name(english, german or english) for english, _, german in pairs)


def _phrases(table: str) -> tuple[Phrase, ...]:
    return tuple(Phrase(*row) for row in _rows(table))


NOUNS = _parse_nouns()
ADJECTIVES = tuple(map(_parse_adjective, _rows(words.ADJECTIVES)))
VERBS = tuple(map(_parse_verb, _rows(words.VERBS)))
DETERMINERS = {
    row[0]: Determiner(*row[:4], row[0] not in words.INDEFINITE)
    for row in map(str.split, words.DETERMINERS.strip().splitlines())
}
NO = DETERMINERS["no"]
PRONOUNS = {
    row[0]: Pronoun(row[0], row[1], (row[2], row[3], row[4]), row[5], int(row[6]))
    for row in map(str.split, words.PRONOUNS.strip().splitlines())
}
NAMES, CITIES = _parse_names(words.NAMES), _parse_names(words.CITIES)
TIMES, COUNTED_TIMES = _phrases(words.TIMES), _phrases(words.COUNTED_TIMES)
FREQUENCIES, COMMENTS, DEGREES = map(_phrases, (words.FREQUENCIES, words.COMMENTS, words.DEGREES))
CAREFUL, SOUNDING = _phrases(words.CAREFUL), _phrases(words.SOUNDING)
CONJUNCTIONS = {row[0]: Conjunction(*row) for row in _rows(words.CONJUNCTIONS)}
QUESTION_WORDS = {row[0]: Conjunction(*row) for row in _rows(words.QUESTION_WORDS)}
THAT, WHETHER = Conjunction("that", "dass", "dass"), Conjunction("whether", "ob", "ob")
AND, BUT = Conjunction("and", "und", "und"), Conjunction("but", "aber", "aber")
MODALS = tuple(map(_parse_modal, _rows(words.MODALS)))
EXIST = next(verb for verb in VERBS if verb.frame == "exist")


def _parse_places(table: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """The (English, German) prepositions of each class of places."""
    places: dict[str, tuple[tuple[str, str], ...]] = {}
    for place, english, german in map(str.split, table.strip().splitlines()):
        places[place] = (*places.get(place, ()), (english.replace("_", " "), german))
    return places


PLACES = {
    "static": _parse_places(words.STATIC),
    "directional": _parse_places(words.DIRECTIONAL),
    "placement": _parse_places(words.PLACEMENT),
    "origin": _parse_places(words.ORIGINS),
}
WHERE_TO = Conjunction("where", "wohin", "wohin")
WITH = Preposition("with", "mit", DATIVE)
WITHOUT = Preposition("without", "ohne", ACCUSATIVE)
FOR = Preposition("for", "für", ACCUSATIVE)
BEFORE = Preposition("before", "vor", DATIVE)
AFTER = Preposition("after", "nach", DATIVE)
DURING = Preposition("during", "während", GENITIVE)
BECAUSE_OF = Preposition("because of", "wegen", GENITIVE)
DESPITE = Preposition("despite", "trotz", GENITIVE)
