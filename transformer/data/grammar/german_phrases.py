"""German phrases: articles, adjectives and nouns in agreement, prepositions that contract.

Relative clauses are not written here: they are collected in `late`, and the clause around the
phrase decides where they go.
"""

from transformer.data.grammar.german_inflection import (
    PLURAL,
    adjective_form,
    determiner_form,
    noun_form,
    numeral,
)
from transformer.data.grammar.lexicon import GENITIVE, NOMINATIVE, Determiner
from transformer.data.grammar.syntax import (
    Adverb,
    Both,
    NamePhrase,
    Nominal,
    NounPhrase,
    Predicate,
    PrepositionPhrase,
    PronounPhrase,
    Relative,
    Token,
)

Late = list[tuple[Relative, NounPhrase]]  # relative clauses that are still to be written

_CONTRACTIONS = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("an", "das"): "ans",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("von", "dem"): "vom",
    ("bei", "dem"): "beim",
}


def column_of(phrase: NounPhrase) -> int:
    """The column of the inflection tables: the noun's gender, or `PLURAL`."""
    return PLURAL if phrase.plural else phrase.noun.gender


def write_nominal(
    out: list[Token],
    nominal: Nominal,
    case: int,
    late: Late,
    no: Determiner | None = None,
) -> None:
    """Writes a nominal; its relative clause goes to `late`, and `no` replaces its article."""
    if isinstance(nominal, PronounPhrase):
        out.append((nominal.pronoun.german[case], nominal, "pronoun"))
    elif isinstance(nominal, NamePhrase):
        form = nominal.name.german + ("s" if case == GENITIVE else "")
        out.append((form, nominal, "name"))
    elif isinstance(nominal, Both):
        write_nominal(out, nominal.first, case, late)
        out.append(("und", nominal, "and"))
        write_nominal(out, nominal.second, case, late)
    else:
        _write_noun_phrase(out, nominal, case, late, no)


def _write_noun_phrase(
    out: list[Token],
    phrase: NounPhrase,
    case: int,
    late: Late,
    no: Determiner | None,
) -> None:
    column = column_of(phrase)
    determiner, owner = no or phrase.determiner, phrase.owner
    pattern = determiner.pattern if determiner else "none"
    if isinstance(owner, NamePhrase):
        write_nominal(out, owner, GENITIVE, late)
    elif isinstance(owner, NounPhrase) and pattern == "none":  # whose; the caller wrote dessen
        owner = None
    elif determiner is not None and pattern != "none":
        form = determiner_form(determiner, case, column)
        out.append((form, phrase, "determiner"))
    if phrase.number:
        out.append((numeral(phrase.number), phrase, "number"))
    if phrase.very:
        out.append(("sehr", phrase, "very"))
    for place, adjective in enumerate(phrase.adjectives):
        if place:
            out.append(("und", phrase, "and"))
        form = adjective_form(adjective, phrase.degree, pattern, case, column)
        out.append((form, phrase, f"adjective {place}"))
    out.append((noun_form(phrase.noun, case, phrase.plural), phrase, "noun"))
    if isinstance(owner, NounPhrase):
        write_nominal(out, owner, GENITIVE, late)
    if phrase.relative is not None:
        late.append((phrase.relative, phrase))


def write_prepositional(out: list[Token], phrase: PrepositionPhrase, late: Late) -> None:
    """Writes a prepositional phrase: im Haus, but in dem Haus, in dem sie wohnt."""
    start, nominal = len(out), phrase.nominal
    out.append((phrase.preposition.german, phrase, "preposition"))
    write_nominal(out, nominal, phrase.preposition.case, late)
    article, node, part = out[start + 1]
    if part == "determiner" and isinstance(nominal, NounPhrase) and nominal.relative is None:
        contracted = _CONTRACTIONS.get((phrase.preposition.german, article))
        if contracted:
            out[start] = (contracted, phrase, "preposition")
            out[start + 1] = ("", node, part)


def write_adverb(out: list[Token], adverb: Adverb | PrepositionPhrase, late: Late) -> None:
    """Writes an adverb, a fixed phrase with its numeral, or a prepositional phrase."""
    if isinstance(adverb, PrepositionPhrase):
        write_prepositional(out, adverb, late)
        return
    number = numeral(adverb.number) if adverb.number else ""
    out.extend(
        (number, adverb, "number") if word == "_" else (word, adverb, "words")
        for word in adverb.phrase.german.split()
    )


def write_predicate(out: list[Token], predicate: Predicate, late: Late) -> None:
    """Writes what the copula says of its subject; the adjective is not inflected there."""
    adjective = predicate.adjective
    if predicate.nominal is not None:
        write_nominal(out, predicate.nominal, NOMINATIVE, late)
    elif predicate.age:
        out.append((numeral(predicate.age), predicate, "number"))
        out.append(("Jahre", predicate, "years"))
        out.append(("alt", predicate, "old"))
    else:
        if predicate.degree is not None:
            out.append((predicate.degree.german, predicate, "degree"))
        if predicate.comparison == "equal":
            out.append(("so", predicate, "as"))
        more = predicate.comparison == "more"
        form = adjective.german_comparative if more else adjective.german
        out.append((form, predicate, "adjective"))
    if predicate.standard is not None:
        out.append(("als" if predicate.comparison == "more" else "wie", predicate, "than"))
        write_nominal(out, predicate.standard, NOMINATIVE, late)
