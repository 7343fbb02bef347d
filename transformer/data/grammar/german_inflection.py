"""German inflection: every form as a pure function of the lexicon's principal parts.

The paradigms are those of any school grammar. Rows of a table are the cases (nominative,
accusative, dative, genitive), columns the genders (masculine, feminine, neuter) and the plural.
"""

from functools import cache

from transformer.data.grammar.lexicon import (
    DATIVE,
    GENITIVE,
    NOMINATIVE,
    Adjective,
    Determiner,
    Noun,
    Verb,
)

PLURAL = 3  # the last column


def _table(*rows: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(form.strip("-") for form in row.split()) for row in rows)


ARTICLE = _table("der die das die", "den die das die", "dem der dem den", "des der des der")
RELATIVE = _table(
    "der die das die", "den die das die", "dem der dem denen", "dessen deren dessen deren"
)
STRONG = _table("er e es e", "en e es e", "em er em en", "en er en er")
WEAK = _table("e e e en", "en e e en", "en en en en", "en en en en")
MIXED = _table("er e es en", "en e es en", "en en en en", "en en en en")
DER_WORD = _table("er e es e", "en e es e", "em er em en", "es er es er")
EIN_WORD = _table("- e - e", "en e - e", "em er em en", "es er es er")
_ADJECTIVE_ENDINGS = {
    "definite": WEAK,
    "der": WEAK,
    "ein": MIXED,
    "strong": STRONG,
    "none": STRONG,
}

HABEN = ("habe", "hast", "hat", "haben")
SEIN = ("bin", "bist", "ist", "sind")
WAR = ("war", "warst", "war", "waren")
_UNITS = "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split()
_TENS = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
_STEMS_IN_TEENS = {6: "sech", 7: "sieb"}  # sechzehn, siebzehn


@cache
def numeral(number: int) -> str:
    """The cardinal from 1 to 99 as it stands before a noun: "ein", "einundzwanzig"."""
    tens, unit = divmod(number, 10)
    if number <= 12:
        return _UNITS[number]
    if tens == 1:
        return _STEMS_IN_TEENS.get(unit, _UNITS[unit]) + "zehn"
    return f"{_UNITS[unit]}und{_TENS[tens]}" if unit else _TENS[tens]


@cache
def noun_form(noun: Noun, case: int, plural: bool) -> str:
    """The noun in a case; the dative plural adds -n unless the plural ends in -n or -s."""
    if plural:
        form = noun.german_plural
        return form + "n" if case == DATIVE and form[-1] not in "ns" else form
    if case == GENITIVE or (noun.weak and case != NOMINATIVE):
        return noun.german_genitive
    return noun.german


def _attributive_stem(form: str) -> str:
    """The stem that takes endings: hoch -> hoh-, dunkel -> dunkl-, teuer -> teur-, müde -> müd-."""
    if form == "hoch":
        return "hoh"
    if form.endswith(("el", "auer", "euer")):
        return form[:-2] + form[-1]
    return form.removesuffix("e")


@cache
def adjective_form(adjective: Adjective, degree: str, pattern: str, case: int, column: int) -> str:
    """The adjective before a noun, after a determiner of the given pattern."""
    form = adjective.german_comparative if degree else _attributive_stem(adjective.german)
    return form + _ADJECTIVE_ENDINGS[pattern][case][column]


@cache
def determiner_form(determiner: Determiner, case: int, column: int) -> str:
    """The article or its like; `column` is the gender or `PLURAL`."""
    match determiner.pattern:
        case "definite":
            return ARTICLE[case][column]
        case "ein":
            return determiner.german + EIN_WORD[case][column]
        case "none":
            return ""
    return determiner.german + DER_WORD[case][column]


@cache
def present(verb: Verb) -> tuple[str, str, str, str]:
    """The forms for ich, du, er and wir, without a separable prefix."""
    third, infinitive = verb.third, verb.german
    if not third.endswith("t"):  # preterite-presents: ich weiß, du weißt, er weiß
        return third, third + ("t" if third.endswith("ß") else "st"), third, infinitive
    second = third if third[-2] in "sßzx" else third[:-1] + "st"
    if infinitive.endswith("eln"):
        first = infinitive[:-3] + "le"
    else:
        first = infinitive.removesuffix("n").removesuffix("e") + "e"
    return first, second, third, infinitive


@cache
def preterite(verb: Verb) -> tuple[str, str, str, str]:
    """The simple past of the few verbs that keep it: hatte, hattest, hatte, hatten."""
    form = verb.preterite
    return form, form + "st", form, form + ("n" if form.endswith("e") else "en")
