"""English inflection: numerals, the article, verbs."""

from functools import cache

from transformer.data.grammar.lexicon import Verb

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_CONSONANTS_WRITTEN_AS_VOWELS = ("uni", "use", "eu")  # a university


@cache
def numeral(number: int) -> str:
    """The cardinal from 1 to 99: "twenty-one"."""
    if number < 20:
        return _UNITS[number]
    tens, unit = divmod(number, 10)
    return f"{_TENS[tens]}-{_UNITS[unit]}" if unit else _TENS[tens]


@cache
def indefinite_article(word: str) -> str:
    """The indefinite article (a, an), by the sound that the next word begins with."""
    vowel = word[0] in "aeiou" and not word.startswith(_CONSONANTS_WRITTEN_AS_VOWELS)
    return "an" if vowel or (word.startswith("hon") and word != "honey") else "a"


@cache
def third_person(verb: Verb) -> str:
    """The present after he, she, it."""
    base = verb.english
    if base == "have":
        return "has"
    if base.endswith("y") and base[-2] not in "aeou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")


@cache
def past(verb: Verb) -> str:
    """The simple past, from the lexicon if irregular."""
    base = verb.english
    if verb.english_past:
        return verb.english_past
    if base.endswith("y") and base[-2] not in "aeou":
        return base[:-1] + "ied"
    return base + ("d" if base.endswith("e") else "ed")
