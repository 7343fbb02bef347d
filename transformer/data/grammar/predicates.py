"""Random predicates: the copula, tense and modals, negation, adverbials."""

from transformer.data.grammar import lexicon as lex
from transformer.data.grammar.lexicon import Adjective, Modal, Noun, Preposition
from transformer.data.grammar.phrases import (
    DESCRIBED,
    EXISTING,
    PLAIN,
    Phrases,
)
from transformer.data.grammar.selection import (
    adjectives,
    comparable,
    members,
    objects,
    places,
)
from transformer.data.grammar.syntax import (
    Adverb,
    Clause,
    NamePhrase,
    Nominal,
    NounPhrase,
    Predicate,
    PrepositionPhrase,
    PronounPhrase,
)

_QUANTIFIED = frozenset(("no", "every", "many", "some", "several", "all"))
_MODALS = {
    tense: tuple(modal for modal in lex.MODALS if modal.tense == tense)
    for tense in ("present", "past", "future")
}
_CAN = next(modal for modal in lex.MODALS if modal.english == "can")
PERSONS = members(("human",))
_ANIMATE = frozenset(("person", "animal"))
_HUMAN_ADJECTIVES = tuple(adj for adj in lex.ADJECTIVES if "human" in adj.classes)
_DESCRIBED = tuple(noun for noun in lex.NOUNS if adjectives(noun).all)
OPEN_PLACES = places(
    ("inside", "at", "market", "street", "bridge", "bench", "balcony", "cities"), "static"
)
_YOUNG = frozenset(("child", "boy", "girl", "son", "daughter", "nephew"))
_INDOORS = places(("rooms",), "static")
_ROOMS = places(("rooms", "surface", "holder", "shelter"), "static")
_WIDE_PLACES = places(("city", "village", "island", "forest", "park", "street"), "static")
_QUITE = next(degree for degree in lex.DEGREES if degree.english == "quite")
_WEATHER = tuple(verb for verb in lex.VERBS if verb.frame == "weather")


def is_person(nominal: Nominal) -> bool:
    """Whether it stands for a human being."""
    if isinstance(nominal, NounPhrase):
        return "person" in nominal.noun.classes
    return not (isinstance(nominal, PronounPhrase) and nominal.pronoun.english == "it")


def _is_third_singular(nominal: Nominal) -> bool:
    if isinstance(nominal, PronounPhrase):
        return nominal.pronoun.person == 2
    return isinstance(nominal, NamePhrase) or (
        isinstance(nominal, NounPhrase) and not nominal.plural
    )


def _is_quantified(nominal: Nominal | None) -> bool:
    return isinstance(nominal, NounPhrase) and (
        nominal.number > 0
        or (nominal.determiner is not None and nominal.determiner.english in _QUANTIFIED)
    )


def _is_indefinite(nominal: Nominal | None) -> bool:
    return (
        isinstance(nominal, NounPhrase)
        and nominal.owner is None
        and (nominal.determiner is None or nominal.determiner.english == "a")
    )


class Predicates(Phrases):
    """Draws what is said of a subject. `tenses` lists what is allowed: "present past future"."""

    def described_subject(self) -> Nominal:
        """The subject of a copula."""
        if self.chance(0.5):
            return self.person(0.35) or self.noun_phrase(self.pick(PERSONS), DESCRIBED, 0.1)
        return self.noun_phrase(self.pick(_DESCRIBED), DESCRIBED, 0.1)

    def copula(self, subject: Nominal, tenses: str) -> Clause:
        """A clause with "be": the adjective, its degrees, a profession, an age, a place."""
        clause = Clause(subject)
        noun = subject.noun if isinstance(subject, NounPhrase) else None
        person = is_person(subject)
        self.add_tense(clause, tenses)
        style = self.random()
        if style < 0.15 and person and _is_third_singular(subject):
            profession = self._profession(subject)
            if profession is not None:
                clause.predicate = Predicate(nominal=profession)
                return clause
        if style < 0.23 and person:
            young = noun is not None and noun.english in _YOUNG
            clause.predicate = Predicate(
                age=2 + int(self.random() * 15 if young else 18 + self.random() * 79)
            )
            return clause
        if style < 0.35 and (person or "thing" in noun.classes):
            clause.place = self.place(OPEN_PLACES if person else _ROOMS)
        else:
            self._describe(clause, noun)
        if clause.place or not (clause.predicate.standard or clause.predicate.adjective.lasting):
            self.add_adverbials(clause, 0.8, False)
        if clause.frequency is None and self.chance(0.15):
            self.negate(clause)
        return clause

    def _profession(self, subject: Nominal) -> NounPhrase | None:
        """A good doctor: always with an adjective, and of the subject's gender."""
        if isinstance(subject, PronounPhrase) and subject.pronoun.english in ("he", "she"):
            female = subject.pronoun.english == "she"
        elif isinstance(subject, NounPhrase) and subject.noun.gender != 2:
            female = subject.noun.gender == 1
        else:
            return None
        noun = self.pick(members(("professional",)))
        if (noun.gender == 1) != female or (
            isinstance(subject, NounPhrase) and noun is subject.noun
        ):
            return None
        profession = self.noun_phrase(noun, ("a",), 0.0)
        self.add_adjectives(profession)
        return profession if profession.adjectives else None

    def _describe(self, clause: Clause, noun: Noun | None) -> None:
        adjective: Adjective = (
            self.pick(_HUMAN_ADJECTIVES) if noun is None else self.choose(adjectives(noun))
        )
        clause.predicate = predicate = Predicate(adjective)
        if isinstance(clause.subject, NounPhrase) and adjective in clause.subject.adjectives:
            clause.subject.adjectives = ()
            clause.subject.very, clause.subject.degree = False, ""
        if not adjective.german_comparative:
            return
        style = self.random()
        if style < 0.28:
            others = PERSONS if noun is None else comparable(adjective, noun)
            if not others:
                return
            predicate.comparison = "more" if style < 0.2 else "equal"
            name = noun is None and self.chance(0.4)
            predicate.standard = (
                NamePhrase(self.pick(lex.NAMES))
                if name
                else self.noun_phrase(self.pick(others), PLAIN, 0.0)
            )
        elif style < 0.5:
            predicate.degree = self.pick(lex.DEGREES)

    def existence(self, tenses: str) -> Clause:
        """There is something somewhere: es gibt."""
        noun = self.choose(objects(lex.EXIST))
        clause = Clause(PronounPhrase(lex.PRONOUNS["there"]), lex.EXIST)
        clause.object = self.noun_phrase(noun, EXISTING, 0.35)
        where = _WIDE_PLACES
        for kind, candidates in (
            ("thing", _ROOMS),
            ("furniture", _INDOORS),
            ("person", OPEN_PLACES),
        ):
            if kind in noun.classes:
                where = candidates
        clause.place = self.place(where)
        clause.past = "past" in tenses and self.chance(0.35)
        return clause

    def weather(self, tenses: str) -> Clause:
        """It rains, it snows."""
        clause = Clause(PronounPhrase(lex.PRONOUNS["it"]), self.pick(_WEATHER))
        clause.past = "past" in tenses and ("present" not in tenses or self.chance(0.5))
        return clause

    def add_tense(self, clause: Clause, tenses: str) -> None:
        """Present, perfect or a modal; only what the English forms tell apart."""
        verb, subject, draw = clause.verb, clause.subject, self.random()
        stative = verb is not None and "t" not in verb.adjuncts
        tense = "past" if draw > 0.67 else "present"
        tense = tense if tense in tenses else tenses.split()[0]
        unmarked = verb is not None and verb.english_past == verb.english
        if tense == "past" and unmarked and not _is_third_singular(subject):
            if "present" not in tenses:  # "they put" has to be present
                clause.modal = self.pick(_MODALS["past"])
                return
            tense = "present"
        if tense == "future" or (draw < 0.07 and "future" in tenses):
            clause.modal = _MODALS["future"][0]
        elif draw < 0.17 and verb is not None and not stative:
            clause.modal = self._modal(subject, tense)
        clause.past = tense == "past" and clause.modal is None

    def _modal(self, subject: Nominal, tense: str) -> Modal | None:
        if isinstance(subject, NounPhrase) and not _ANIMATE & subject.noun.classes:
            return None if tense == "past" else _CAN
        modal = self.pick(_MODALS[tense])
        nobody = isinstance(subject, NounPhrase) and subject.determiner is lex.NO
        return None if nobody and modal.english in ("must", "may", "had to") else modal

    def tense_of(self, clause: Clause) -> str:
        """Which adverbials of time the clause goes with."""
        return clause.modal.tense if clause.modal else "past" if clause.past else "present"

    def add_adverbials(self, clause: Clause, scale: float, heavy: bool) -> None:
        """Adds what the verb allows; nothing can follow a `heavy` clause's relative clause."""
        verb = clause.verb
        allowed = verb.adjuncts if verb is not None else frozenset("t")
        if "t" in allowed and self.chance(0.3 * scale):
            clause.time = self.time(self.tense_of(clause))
        elif self.chance(0.1 * scale) and not _is_quantified(clause.subject):
            clause.frequency = Adverb(self.pick(lex.FREQUENCIES))
        if heavy:
            clause.time = None
            return
        if "p" in allowed and self.chance(0.25 * scale):
            clause.place = self.place(OPEN_PLACES)
        elif "w" in allowed and self.chance(0.15 * scale):
            clause.partner = self._partner(lex.WITH if self.chance(0.75) else lex.WITHOUT, clause)
        elif "f" in allowed and self.chance(0.25 * scale):
            clause.partner = self._partner(lex.FOR, clause)
        if "m" in allowed and self.chance(0.18 * scale):
            clause.manner = Adverb(self.pick(lex.CAREFUL))
        elif "s" in allowed and self.chance(0.18 * scale):
            clause.manner = Adverb(self.pick(lex.SOUNDING))

    def _partner(self, preposition: Preposition, clause: Clause) -> PrepositionPhrase:
        who = self.person(0.25, clause.subject)
        return PrepositionPhrase(
            preposition, who or self.noun_phrase(self.pick(PERSONS), PLAIN, 0.15)
        )

    def negate(self, clause: Clause) -> None:
        """Negates the clause where "nicht" or "kein" would say the same as English "not"."""
        modal, predicate = clause.modal, clause.predicate
        objects_ = (clause.subject, clause.object, clause.indirect, clause.oblique)
        if any(map(_is_quantified, objects_)) or (modal and modal.english in ("must", "had to")):
            return
        if predicate is not None and (predicate.nominal or predicate.standard):
            return
        if predicate is not None and predicate.degree is _QUITE:
            return
        if clause.object is not None and _is_indefinite(clause.indirect):
            return
        if isinstance(clause.time, Adverb) and clause.time.phrase.english.startswith("every"):
            return
        clause.negated = True
