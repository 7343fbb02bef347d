import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import zlib

import pytest

from transformer.data import grammar
from transformer.data.grammar import english_inflection as english
from transformer.data.grammar import german_inflection as german
from transformer.data.grammar import lexicon as lex
from transformer.data.grammar import selection
from transformer.data.grammar.german_phrases import write_nominal
from transformer.data.grammar.syntax import (
    Adverb,
    Both,
    Clause,
    Infinitive,
    NamePhrase,
    NounPhrase,
    Predicate,
    PrepositionPhrase,
    PronounPhrase,
    Relative,
    Sentence,
    Subordinate,
)
from transformer.errors import UserError

NOUNS = {noun.english: noun for noun in lex.NOUNS}
ADJECTIVES = {adjective.english: adjective for adjective in lex.ADJECTIVES}
NAMES = {name.english: name for name in (*lex.NAMES, *lex.CITIES)}
MODALS = {modal.english: modal for modal in lex.MODALS}
PHRASES = {
    phrase.english: phrase
    for phrase in (*lex.TIMES, *lex.COUNTED_TIMES, *lex.FREQUENCIES, *lex.COMMENTS, *lex.CAREFUL)
}


def np(words, plural=False, **more):
    """A noun phrase from its singular: np("the old dog")."""
    determiner, *adjectives, noun = words.split()
    return NounPhrase(
        NOUNS[noun],
        lex.DETERMINERS.get(determiner),
        tuple(ADJECTIVES[adjective] for adjective in adjectives),
        plural,
        **more,
    )


def pro(word):
    return PronounPhrase(lex.PRONOUNS[word])


def name(word):
    return NamePhrase(NAMES[word])


def verb(german_infinitive, frame=None):
    """The verb by its German infinitive, prefix included: verb("aufstehen")."""
    return next(
        verb
        for verb in lex.VERBS
        if verb.prefix + verb.german == german_infinitive and frame in (None, verb.frame)
    )


def when(english_words, number=0):
    return Adverb(PHRASES[english_words], number)


def pp(english_preposition, german_preposition, case, nominal):
    return PrepositionPhrase(
        lex.Preposition(english_preposition, german_preposition, case), nominal
    )


def both_languages(tree, **more):
    """The pair of a main clause or of a whole sentence."""
    sentence = tree if isinstance(tree, Sentence) else Sentence(tree, **more)
    pair = grammar.derivation(sentence)
    return pair.english, pair.german


def german_of(tree, **more):
    return both_languages(tree, **more)[1]


# Words -------------------------------------------------------------------------------------------

# Nominative, accusative, dative, genitive of the singular, then of the plural.
PARADIGMS = {
    "the old man": """der alte Mann, den alten Mann, dem alten Mann, des alten Mannes,
        die alten Männer, die alten Männer, den alten Männern, der alten Männer""",
    "the old cat": """die alte Katze, die alte Katze, der alten Katze, der alten Katze,
        die alten Katzen, die alten Katzen, den alten Katzen, der alten Katzen""",
    "this dark house": """dieses dunkle Haus, dieses dunkle Haus, diesem dunklen Haus,
        dieses dunklen Hauses, diese dunklen Häuser, diese dunklen Häuser,
        diesen dunklen Häusern, dieser dunklen Häuser""",
    "my young student": """mein junger Student, meinen jungen Studenten, meinem jungen Studenten,
        meines jungen Studenten, meine jungen Studenten, meine jungen Studenten,
        meinen jungen Studenten, meiner jungen Studenten""",
    "our high bridge": """unsere hohe Brücke, unsere hohe Brücke, unserer hohen Brücke,
        unserer hohen Brücke, unsere hohen Brücken, unsere hohen Brücken, unseren hohen Brücken,
        unserer hohen Brücken""",
    "no expensive car": """kein teures Auto, kein teures Auto, keinem teuren Auto,
        keines teuren Autos, keine teuren Autos, keine teuren Autos, keinen teuren Autos,
        keiner teuren Autos""",
}
STRONG_PLURAL = {
    "many good book": "viele gute Bücher, viele gute Bücher, vielen guten Büchern, "
    "vieler guter Bücher",
    "all good book": "alle guten Bücher, alle guten Bücher, allen guten Büchern, "
    "aller guten Bücher",
    "- good book": "gute Bücher, gute Bücher, guten Büchern, guter Bücher",
}
STRONG_SINGULAR = {
    "- cold tea": "kalter Tee, kalten Tee, kaltem Tee, kalten Tees",
    "- cold milk": "kalte Milch, kalte Milch, kalter Milch, kalter Milch",
    "- cold water": "kaltes Wasser, kaltes Wasser, kaltem Wasser, kalten Wassers",
}


def declined(phrase, case):
    out = []
    write_nominal(out, phrase, case, [])
    return " ".join(text for text, _, _ in out)


def forms(words, plural):
    return [declined(np(words, plural), case) for case in range(4)]


def listed(text):
    return [" ".join(form.split()) for form in text.split(",")]


@pytest.mark.parametrize("words", PARADIGMS)
def test_paradigms_of_noun_phrases(words):
    assert forms(words, False) + forms(words, True) == listed(PARADIGMS[words])


@pytest.mark.parametrize("words", STRONG_PLURAL)
def test_plural_after_quantities(words):
    assert forms(words, True) == listed(STRONG_PLURAL[words])


@pytest.mark.parametrize("words", STRONG_SINGULAR)
def test_strong_adjectives_without_an_article(words):
    assert forms(words, False) == listed(STRONG_SINGULAR[words])


def test_weak_nouns_are_those_of_the_n_declension():
    weak = {noun.german for noun in lex.NOUNS if noun.weak}
    assert {"Junge", "Student", "Nachbar", "Kollege", "Bär", "Löwe", "Bauer", "Zeuge"} <= weak
    assert weak.isdisjoint({"Mann", "Kuchen", "Autor", "Garten", "Laden", "Käse", "Frau", "Baby"})
    boy = NOUNS["boy"]
    assert [german.noun_form(boy, case, False) for case in range(4)] == [
        "Junge",
        "Jungen",
        "Jungen",
        "Jungen",
    ]


def test_the_dative_plural_takes_n_where_it_can():
    def dative(noun):
        return german.noun_form(NOUNS[noun], lex.DATIVE, True)

    assert [dative(noun) for noun in ("child", "car", "woman", "teacher", "station", "key")] == [
        "Kindern",
        "Autos",
        "Frauen",
        "Lehrern",
        "Bahnhöfen",
        "Schlüsseln",
    ]


@pytest.mark.parametrize(
    ("number", "in_german", "in_english"),
    [
        (2, "zwei", "two"),
        (12, "zwölf", "twelve"),
        (13, "dreizehn", "thirteen"),
        (16, "sechzehn", "sixteen"),
        (17, "siebzehn", "seventeen"),
        (20, "zwanzig", "twenty"),
        (21, "einundzwanzig", "twenty-one"),
        (30, "dreißig", "thirty"),
        (66, "sechsundsechzig", "sixty-six"),
        (77, "siebenundsiebzig", "seventy-seven"),
        (99, "neunundneunzig", "ninety-nine"),
    ],
)
def test_numerals(number, in_german, in_english):
    assert german.numeral(number) == in_german
    assert english.numeral(number) == in_english


@pytest.mark.parametrize(
    ("infinitive", "conjugated"),
    [
        ("lesen", "lese liest liest lesen"),
        ("arbeiten", "arbeite arbeitest arbeitet arbeiten"),
        ("essen", "esse isst isst essen"),
        ("fahren", "fahre fährst fährt fahren"),
        ("lächeln", "lächle lächelst lächelt lächeln"),
        ("füttern", "füttere fütterst füttert füttern"),
        ("wissen", "weiß weißt weiß wissen"),
        ("mögen", "mag magst mag mögen"),
        ("einladen", "lade lädst lädt laden"),
        ("tanzen", "tanze tanzt tanzt tanzen"),
        ("haben", "habe hast hat haben"),
        ("öffnen", "öffne öffnest öffnet öffnen"),
    ],
)
def test_present_tense(infinitive, conjugated):
    assert german.present(verb(infinitive)) == tuple(conjugated.split())


def test_english_forms():
    assert [
        english.third_person(verb(v)) for v in ("küssen", "aufräumen", "gehorchen", "gehen")
    ] == [
        "kisses",
        "tidies",
        "obeys",
        "goes",
    ]
    assert [
        english.past(verb(v)) for v in ("versuchen", "planen", "lieben", "liegen", "lesen")
    ] == [
        "tried",
        "planned",
        "loved",
        "lay",
        "read",
    ]
    articles = {"old": "an", "university": "a", "honest": "an", "house": "a", "useful": "a"}
    assert {word: english.indefinite_article(word) for word in articles} == articles
    plurals = {"city": "cities", "key": "keys", "box": "boxes", "church": "churches"}
    assert {noun: NOUNS[noun].english_plural for noun in plurals} == plurals


# Sentences ---------------------------------------------------------------------------------------

READ, SLEEP, HELP = verb("lesen"), verb("schlafen"), verb("helfen")
GET_UP, CALL, GIVE = verb("aufstehen"), verb("anrufen"), verb("geben", "give")
GO, RUN, PUT = verb("gehen"), verb("laufen"), verb("legen")
IN_THE_GARDEN = ("in", "in", lex.DATIVE)


def read(subject="the teacher", object_="the book", **more):
    return Clause(np(subject), READ, object=np(object_), **more)


def test_prefield_and_inversion():
    assert both_languages(read()) == ("The teacher reads the book.", "Der Lehrer liest das Buch.")
    today = read(time=when("today"), front="time")
    assert both_languages(today) == (
        "Today the teacher reads the book.",
        "Heute liest der Lehrer das Buch.",
    )
    garden = Clause(pro("they"), SLEEP, place=pp(*IN_THE_GARDEN, np("the garden")), front="place")
    assert both_languages(garden) == ("In the garden they sleep.", "Im Garten schlafen sie.")
    comment = Sentence(read(), comment=when("unfortunately"))
    assert both_languages(comment) == (
        "Unfortunately, the teacher reads the book.",
        "Leider liest der Lehrer das Buch.",
    )


def test_definite_objects_precede_adverbs_and_indefinite_ones_follow():
    today = {"time": when("today")}
    assert german_of(read(**today)) == "Der Lehrer liest das Buch heute."
    assert german_of(read(object_="a book", **today)) == "Der Lehrer liest heute ein Buch."
    give = Clause(pro("he"), GIVE, object=np("a ball"), indirect=np("the child"), **today)
    assert both_languages(give) == (
        "He gives the child a ball today.",
        "Er gibt dem Kind heute einen Ball.",
    )
    describe = Clause(pro("he"), verb("beschreiben"), object=pro("she"), indirect=pro("they"))
    assert both_languages(describe) == ("He describes her to them.", "Er beschreibt sie ihnen.")


def test_perfect_with_haben_and_with_sein_and_the_preterite_of_three_verbs():
    assert both_languages(read(past=True)) == (
        "The teacher read the book.",
        "Der Lehrer hat das Buch gelesen.",
    )
    assert german_of(Clause(pro("I"), GET_UP, past=True)) == "Ich bin aufgestanden."
    assert german_of(Clause(pro("we"), past=True, predicate=Predicate(ADJECTIVES["tired"]))) == (
        "Wir waren müde."
    )
    have = Clause(pro("you"), verb("haben"), past=True, object=np("a dog"))
    assert both_languages(have) == ("You had a dog.", "Du hattest einen Hund.")
    there = Clause(pro("there"), lex.EXIST, past=True, object=np("many bird", True))
    assert both_languages(there) == ("There were many birds.", "Es gab viele Vögel.")


def test_modals_send_the_infinitive_to_the_end():
    can = Clause(pro("I"), CALL, modal=MODALS["can"], object=np("the doctor"))
    assert both_languages(can) == ("I can call the doctor.", "Ich kann den Arzt anrufen.")
    want = read(modal=MODALS["want to"], negated=True)
    assert both_languages(want) == (
        "The teacher does not want to read the book.",
        "Der Lehrer will das Buch nicht lesen.",
    )
    had = Sentence(read(modal=MODALS["had to"]), question=True)
    assert both_languages(had) == (
        "Did the teacher have to read the book?",
        "Musste der Lehrer das Buch lesen?",
    )


def test_separable_verbs_in_every_order():
    def call(**more):
        return Clause(np("the child"), CALL, object=np("the father"), **more)

    assert german_of(call()) == "Das Kind ruft den Vater an."
    assert german_of(call(past=True)) == "Das Kind hat den Vater angerufen."
    said = Clause(
        pro("she"), verb("sagen"), complement=Subordinate(lex.THAT, call(modal=MODALS["will"]))
    )
    assert german_of(said) == "Sie sagt, dass das Kind den Vater anrufen wird."
    hope = Clause(pro("she"), verb("hoffen"), complement=Subordinate(lex.THAT, call()))
    assert german_of(hope) == "Sie hofft, dass das Kind den Vater anruft."
    she = pro("she")
    inner = Clause(she, CALL, object=np("the father"))
    assert both_languages(Clause(she, verb("versuchen"), complement=Infinitive(inner))) == (
        "She tries to call the father.",
        "Sie versucht, den Vater anzurufen.",
    )


def test_subordinate_clauses_and_their_tenses():
    because = Subordinate(lex.CONJUNCTIONS["because"], read(past=True))
    assert both_languages(Clause(pro("I"), SLEEP), subordinate=because) == (
        "I sleep because the teacher read the book.",
        "Ich schlafe, weil der Lehrer das Buch gelesen hat.",
    )
    first = Sentence(Clause(pro("I"), SLEEP), subordinate=because, subordinate_first=True)
    assert both_languages(first) == (
        "Because the teacher read the book, I sleep.",
        "Weil der Lehrer das Buch gelesen hat, schlafe ich.",
    )
    rain = verb("regnen")
    for past, conjunction in ((False, "wenn es regnet"), (True, "als es geregnet hat")):
        clause = Subordinate(lex.CONJUNCTIONS["when"], Clause(pro("it"), rain, past=past))
        sentence = Sentence(Clause(pro("I"), SLEEP, past=past), subordinate=clause)
        assert german_of(sentence).endswith(f", {conjunction}.")
    she = pro("she")
    buy = Infinitive(Clause(she, verb("kaufen"), object=np("- bread")), purpose=True)
    market = pp("to", "zu", lex.DATIVE, np("the market"))
    assert both_languages(Clause(she, GO, place=market, complement=buy)) == (
        "She goes to the market in order to buy bread.",
        "Sie geht zum Markt, um Brot zu kaufen.",
    )


def test_negation_with_nicht_and_kein():
    assert both_languages(read(negated=True)) == (
        "The teacher does not read the book.",
        "Der Lehrer liest das Buch nicht.",
    )
    assert both_languages(read(object_="a book", negated=True, past=True)) == (
        "The teacher did not read a book.",
        "Der Lehrer hat kein Buch gelesen.",
    )
    milk = Clause(pro("he"), verb("trinken"), object=np("- milk"), negated=True)
    assert both_languages(milk) == ("He does not drink milk.", "Er trinkt keine Milch.")
    help_ = Clause(pro("he"), HELP, indirect=np("a man"), negated=True, modal=MODALS["can"])
    assert both_languages(help_) == ("He cannot help a man.", "Er kann keinem Mann helfen.")
    wait = Clause(pro("he"), verb("warten"), oblique=np("a bus"), negated=True)
    assert german_of(wait) == "Er wartet nicht auf einen Bus."
    tired = Clause(pro("he"), predicate=Predicate(ADJECTIVES["tired"]), negated=True)
    assert both_languages(tired) == ("He is not tired.", "Er ist nicht müde.")


def test_two_way_prepositions_and_contractions():
    static, motion = lex.DATIVE, lex.ACCUSATIVE
    lie = Clause(np("the book"), verb("liegen"), place=pp("on", "auf", static, np("the table")))
    assert german_of(lie) == "Das Buch liegt auf dem Tisch."
    put = Clause(
        pro("she"), PUT, object=np("the book"), place=pp("on", "auf", motion, np("the table"))
    )
    assert german_of(put) == "Sie legt das Buch auf den Tisch."
    for preposition, case, noun, expected in (
        ("in", motion, "the house", "Er geht ins Haus."),
        ("in", motion, "the old house", "Er geht ins alte Haus."),
        ("in", motion, "this house", "Er geht in dieses Haus."),
        ("zu", static, "the bridge", "Er geht zur Brücke."),
        ("zu", static, "the station", "Er geht zum Bahnhof."),
        ("von", static, "the station", "Er geht vom Bahnhof."),
        ("an", static, "the lake", "Er geht am See."),
        ("an", motion, "the window", "Er geht ans Fenster."),
        ("hinter", motion, "the tree", "Er geht hinter den Baum."),
    ):
        clause = Clause(pro("he"), GO, place=pp("to", preposition, case, np(noun)))
        assert german_of(clause) == expected


def test_prepositions_with_a_fixed_case():
    def sleep(preposition, nominal):
        return german_of(Clause(pro("he"), SLEEP, time=PrepositionPhrase(preposition, nominal)))

    weather = np("- bad weather")
    assert sleep(lex.BECAUSE_OF, np("the rain")) == "Er schläft wegen des Regens."
    assert sleep(lex.BECAUSE_OF, weather) == "Er schläft wegen schlechten Wetters."
    assert sleep(lex.WITH, np("- old friend", True)) == "Er schläft mit alten Freunden."
    assert sleep(lex.WITHOUT, np("my brother")) == "Er schläft ohne meinen Bruder."


def related(role, head, clause):
    head.relative = Relative(clause, role)
    return head


def test_relative_pronouns_agree_in_gender_and_take_their_case_from_the_clause():
    for noun, plural, nominative, accusative, dative, genitive in (
        ("man", False, "der", "den", "dem", "dessen"),
        ("woman", False, "die", "die", "der", "deren"),
        ("child", False, "das", "das", "dem", "dessen"),
        ("man", True, "die", "die", "denen", "deren"),
    ):
        head = np(f"the {noun}", plural)
        start = declined(head, lex.NOMINATIVE).replace("d", "D", 1)
        finite = "schlafen" if plural else "schläft"
        singing = "singen" if plural else "singt"
        sing, dog = verb("singen", "none"), NounPhrase(NOUNS["dog"], owner=head)
        for role, clause, relative in (
            ("subject", Clause(head, sing), f"{nominative} {singing}"),
            ("object", Clause(pro("I"), verb("sehen"), object=head), f"{accusative} ich sehe"),
            ("indirect", Clause(pro("I"), HELP, indirect=head), f"{dative} ich helfe"),
            (
                "oblique",
                Clause(pro("I"), verb("warten"), oblique=head),
                f"auf {accusative} ich warte",
            ),
            ("owner", Clause(dog, SLEEP), f"{genitive} Hund schläft"),
        ):
            sentence = Clause(related(role, head, clause), SLEEP)
            assert german_of(sentence) == f"{start}, {relative}, {finite}."


def test_english_relative_pronouns():
    def sentence(words, role, **more):
        head = np(words)
        fill = {"subject": "subject", "oblique": "oblique"}[role]
        clause = Clause(head if role == "subject" else pro("I"), **more)
        setattr(clause, fill, head)
        return both_languages(Clause(related(role, head, clause), SLEEP))[0]

    wait = verb("warten")
    assert sentence("the man", "subject", verb=SLEEP) == "The man who sleeps sleeps."
    assert sentence("the dog", "subject", verb=SLEEP) == "The dog that sleeps sleeps."
    assert sentence("the man", "oblique", verb=wait) == "The man for whom I wait sleeps."
    assert sentence("the bus", "oblique", verb=wait) == "The bus for which I wait sleeps."


def test_a_relative_clause_of_the_object_moves_behind_the_right_bracket():
    book = np("the book")
    related("object", book, Clause(np("the child"), verb("kaufen"), past=True, object=book))
    assert both_languages(Clause(pro("he"), READ, past=True, object=book)) == (
        "He read the book that the child bought.",
        "Er hat das Buch gelesen, das das Kind gekauft hat.",
    )
    house = np("the house")
    inside = pp(*IN_THE_GARDEN, house)
    related("place", house, Clause(pro("she"), verb("wohnen"), place=inside))
    assert both_languages(Clause(pro("he"), SLEEP, place=pp(*IN_THE_GARDEN, house))) == (
        "He sleeps in the house in which she lives.",
        "Er schläft in dem Haus, in dem sie wohnt.",  # no contraction before a relative clause
    )


def test_owners():
    def sleeps(owner, words="the old dog"):
        phrase = np(words)
        phrase.owner = owner
        if isinstance(owner, NamePhrase):
            phrase.determiner = None
        return both_languages(Clause(pro("I"), verb("sprechen", "prep"), oblique=phrase))

    speak = verb("sprechen", "prep")
    assert speak.preposition.german == "über"
    assert sleeps(name("Anna")) == (
        "I talk about Anna's old dog.",
        "Ich spreche über Annas alten Hund.",
    )
    assert sleeps(np("the student")) == (
        "I talk about the student's old dog.",
        "Ich spreche über den alten Hund des Studenten.",
    )
    assert sleeps(np("the student", True))[0] == "I talk about the students' old dog."
    assert sleeps(np("the house"), "the door") == (
        "I talk about the door of the house.",
        "Ich spreche über die Tür des Hauses.",
    )


def test_reflexive_verbs():
    hurry = verb("beeilen")
    assert german_of(Clause(pro("I"), hurry)) == "Ich beeile mich."
    today = {"time": when("today"), "front": "time"}
    assert german_of(Clause(np("the man"), hurry, **today)) == "Heute beeilt sich der Mann."
    assert german_of(Clause(pro("he"), hurry, **today)) == "Heute beeilt er sich."
    rest = Clause(np("the man"), verb("ausruhen"))
    because = Subordinate(lex.CONJUNCTIONS["because"], rest)
    assert german_of(Clause(pro("I"), SLEEP), subordinate=because) == (
        "Ich schlafe, weil der Mann sich ausruht."
    )


def test_questions():
    assert both_languages(read(), question=True) == (
        "Does the teacher read the book?",
        "Liest der Lehrer das Buch?",
    )
    whom = Clause(np("the child"), HELP, indirect=pro("who"), front="indirect")
    assert both_languages(whom, question=True) == (
        "Whom does the child help?",
        "Wem hilft das Kind?",
    )
    who = Clause(pro("who"), CALL, object=np("the doctor"), past=True, front="subject")
    assert both_languages(who, question=True) == (
        "Who called the doctor?",
        "Wer hat den Arzt angerufen?",
    )
    which = read(object_="which book", past=True, front="object")
    assert both_languages(which, question=True) == (
        "Which book did the teacher read?",
        "Welches Buch hat der Lehrer gelesen?",
    )
    go = Sentence(Clause(pro("you"), GO), question=True, wh=lex.WHERE_TO)
    assert both_languages(go) == ("Where do you go?", "Wohin gehst du?")


def test_coordination():
    he, past = pro("he"), {"past": True}
    ate = Clause(he, verb("essen"), object=np("the bread"), **past)
    drank = Clause(he, verb("trinken"), object=np("the milk"), **past)
    assert both_languages(Sentence(ate, coordinator=lex.AND, second=drank)) == (
        "He ate the bread and drank the milk.",
        "Er hat das Brot gegessen und die Milch getrunken.",
    )
    rose = Clause(he, GET_UP, **past)
    assert german_of(Sentence(ate, coordinator=lex.AND, second=rose)) == (
        "Er hat das Brot gegessen und ist aufgestanden."
    )
    she = Clause(pro("she"), SLEEP)
    assert both_languages(Sentence(Clause(he, SLEEP), coordinator=lex.BUT, second=she)) == (
        "He sleeps, but she sleeps.",
        "Er schläft, aber sie schläft.",
    )
    couple = Clause(Both(np("the man"), np("my sister")), SLEEP)
    assert both_languages(couple) == (
        "The man and my sister sleep.",
        "Der Mann und meine Schwester schlafen.",
    )


def test_numerals_and_comparison_in_sentences():
    dogs = np("- old dog", True, number=21)
    assert both_languages(Clause(dogs, SLEEP)) == (
        "Twenty-one old dogs sleep.",
        "Einundzwanzig alte Hunde schlafen.",
    )
    age = Clause(name("Maria"), predicate=Predicate(age=47))
    assert both_languages(age) == (
        "Maria is forty-seven years old.",
        "Maria ist siebenundvierzig Jahre alt.",
    )
    clock = Clause(pro("I"), GET_UP, time=when("at _ o'clock", 7), front="time")
    assert both_languages(clock) == ("At seven o'clock I get up.", "Um sieben Uhr stehe ich auf.")
    bigger = Predicate(ADJECTIVES["big"], comparison="more", standard=np("the cat"))
    assert both_languages(Clause(np("the dog"), predicate=bigger)) == (
        "The dog is bigger than the cat.",
        "Der Hund ist größer als die Katze.",
    )
    dearer = np("a expensive car", degree="comparative")
    assert both_languages(Clause(pro("I"), verb("kaufen"), object=dearer)) == (
        "I buy a more expensive car.",
        "Ich kaufe ein teureres Auto.",
    )


# The corpus --------------------------------------------------------------------------------------

# In a process of its own: with another hash seed, and without the type checks that make it slow.
GENERATE = """
import json, random
from transformer.data import grammar
from transformer.data.grammar.selection import reserved_pairs
from transformer.data.grammar.sentences import Sentences

splits = {
    split: {seed: grammar.pairs(split, size, seed) for seed in (0, 5)}
    for split, size in dict(train=4000, validation=300, test=300, test_novel=300).items()
}
drawn = []
for novelty in ("", "combination", "depth"):
    source = Sentences(random.Random(3), novelty)
    for _ in range(7000):
        sentence = source.sentence()
        pair = grammar.derivation(sentence)
        reserved = len(reserved_pairs(sentence))
        drawn.append((novelty, pair.english, pair.german, reserved, source.depth))
novelties = [pair.novelty for pair in grammar.derivations("test_novel", 40)]
print(json.dumps({"splits": splits, "drawn": drawn, "novelties": novelties}))
"""


@pytest.fixture(scope="module")
def generated():
    run = subprocess.run(
        [sys.executable, "-c", GENERATE],
        cwd=pathlib.Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        check=True,
    )
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def splits(generated):
    """Pairs by split and seed; the seeds are strings, "0" and "5"."""
    return generated["splits"]


def test_pairs_are_a_function_of_split_and_seed_and_sizes_are_prefixes(splits):
    sources, targets = splits["train"]["0"]
    assert grammar.pairs("train", 100) == (sources[:100], targets[:100])
    assert splits["train"]["5"][0] != sources


def test_the_corpus_is_the_one_that_results_refer_to(splits):
    texts = [text for seeds in splits.values() for pair in seeds["0"] for text in pair]
    assert zlib.crc32("\n".join(texts).encode()) == 195637846


def test_splits_are_disjoint_for_every_seed(splits):
    shown = {source for pair in splits["train"].values() for source in pair[0]}
    held_out = {
        split: {source for pair in splits[split].values() for source in pair[0]}
        for split in ("validation", "test", "test_novel")
    }
    assert all(len(sources) > 500 and not sources & shown for sources in held_out.values())
    assert not held_out["validation"] & held_out["test"]


def test_no_sentence_is_repeated_within_a_split(splits):
    for split, size in (("train", 4000), ("test", 300), ("test_novel", 300)):
        sources, targets = splits[split]["0"]
        assert len(set(sources)) == len(sources) == len(targets) == size


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="train, validation, test, test_novel"):
        grammar.pairs("dev", 1)


def test_every_english_sentence_has_one_translation(generated):
    translations = collections.defaultdict(set)
    for _, source, target, _, _ in generated["drawn"]:
        translations[source].add(target)
    assert len(translations) > 16000
    assert [item for item in translations.items() if len(item[1]) > 1] == []


def test_training_never_shows_what_the_novel_split_is_made_of(generated):
    for novelty, source, _, reserved, depth in generated["drawn"]:
        assert not reserved or novelty == "combination", source
        assert depth < 2 or novelty == "depth", source
    drawn = generated["drawn"]
    assert sum(reserved > 0 for _, _, _, reserved, _ in drawn) > 400
    assert sum(depth == 2 for _, _, _, _, depth in drawn) > 400
    assert collections.Counter(generated["novelties"]) == {"combination": 20, "depth": 20}


def test_reserved_pairs_are_found_wherever_they_stand():
    noun, adjective = next(
        (noun, adjective)
        for noun in selection.members(("readable",))
        for adjective in selection.adjectives(noun).reserved
    )
    assert zlib.crc32(f"{adjective.english} {noun.english}".encode()) % 12 == 0
    pair = {(adjective.english, noun.english)}
    attribute = NounPhrase(noun, lex.DETERMINERS["the"], (adjective,))
    unread = selection.reserved_pairs(Sentence(Clause(pro("I"), READ, object=attribute)))
    assert pair <= unread
    predicate = Clause(np("the " + noun.english), predicate=Predicate(adjective))
    said = Clause(pro("I"), verb("sagen"), complement=Subordinate(lex.THAT, predicate))
    assert selection.reserved_pairs(Sentence(said)) == pair


def test_the_lexicon_is_large_and_consistent():
    assert len({noun.english for noun in lex.NOUNS}) >= 200
    assert len({selection.verb_key(verb) for verb in lex.VERBS}) >= 90
    assert len({adjective.english for adjective in lex.ADJECTIVES}) >= 70
    for words in (lex.NOUNS, lex.ADJECTIVES):
        assert max(collections.Counter(word.english for word in words).values()) == 1
    known = {name for noun in lex.NOUNS for name in (noun.english, *noun.classes)} | {"cities"}
    used = [
        *((adjective.english, adjective.classes) for adjective in lex.ADJECTIVES),
        *((verb.english, (*verb.subjects, *verb.objects)) for verb in lex.VERBS),
    ]
    assert [(word, set(names) - known) for word, names in used if set(names) - known] == []


def test_sentences_look_like_text(splits):
    sources, targets = splits["train"]["0"]
    for sentence in (*sources, *targets):
        assert re.fullmatch(r"[A-ZÄÖÜ][\w ,'-]*\w[.?]", sentence), sentence
        assert ",," not in sentence and "  " not in sentence and " ," not in sentence
    lengths = [len(source.split()) for source in sources]
    assert 7 <= sum(lengths) / len(lengths) <= 12
    assert max(lengths) <= 35


def test_alignment_links_words_of_the_same_origin():
    place = pp("to", "zu", lex.DATIVE, np("the station"))
    clause = Clause(np("the old man"), RUN, past=True, place=place, negated=True)
    pair = grammar.derivation(Sentence(clause))
    links = {(pair.english_words[i], pair.german_words[j]) for i, j in pair.alignment}
    assert pair.english == "The old man did not run to the station."
    assert pair.german == "Der alte Mann ist nicht zum Bahnhof gelaufen."
    assert links == {
        ("the", "der"),
        ("old", "alte"),
        ("man", "Mann"),
        ("did", "ist"),
        ("did", "gelaufen"),
        ("run", "ist"),
        ("run", "gelaufen"),
        ("not", "nicht"),
        ("to", "zum"),
        ("the", "zum"),
        ("station", "Bahnhof"),
        (".", "."),
    }


def test_almost_every_word_is_aligned():
    aligned = collections.Counter()
    for pair in grammar.derivations("train", 150):
        linked = {j for _, j in pair.alignment}
        for position, word in enumerate(pair.german_words):
            aligned[position in linked or word == ","] += 1
        assert all(i < len(pair.english_words) for i, _ in pair.alignment)
    assert aligned[True] / aligned.total() > 0.97
