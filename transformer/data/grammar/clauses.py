"""Random clauses: a verb, the nouns that it selects, and relative clauses."""

from transformer.data.grammar import lexicon as lex
from transformer.data.grammar.lexicon import Verb
from transformer.data.grammar.phrases import (
    OBJECT,
    PLAIN,
    SUBJECT,
    weighted,
)
from transformer.data.grammar.predicates import OPEN_PLACES, PERSONS, Predicates
from transformer.data.grammar.selection import (
    adjectives,
    members,
    objects,
    places,
    verbs_with_object,
    verbs_with_subject,
)
from transformer.data.grammar.syntax import (
    Clause,
    Nominal,
    NounPhrase,
    PrepositionPhrase,
    PronounPhrase,
    Relative,
)

FRAMES = {
    "give": frozenset(("give", "give-to")),
    "place": frozenset(("be-at", "go", "from")),
    **{name: frozenset((name,)) for name in ("none", "acc", "dat", "prep", "put")},
}
MAIN = weighted(none=15, acc=38, dat=8, give=9, prep=9, place=14, put=4, copula=16)
ACTIONS = weighted(none=15, acc=45, dat=9, give=11, prep=10, put=4)  # what happens, not what is
_ANY_FRAME = frozenset(("none", "acc", "dat", "give", "prep", "be-at", "go", "put"))
_VERBS = {
    name: tuple(verb for verb in lex.VERBS if verb.frame in frames)
    for name, frames in FRAMES.items()
}
_ROLES = weighted(subject=42, object=28, indirect=9, oblique=7, place=6, owner=8)
_OBJECT_FRAMES = frozenset(("acc", "give"))
_STAYING = tuple(
    verb
    for verb in lex.VERBS
    if verb.frame == "none" and verb.english in ("work", "wait", "sleep", "dance", "sing", "rest")
)
_OWNED = members(("pet", "friend", "brother", "sister", "son", "daughter", "car", "house"))


class Clauses(Predicates):
    """Draws clauses. `tenses` lists what is allowed: "present past future"."""

    def clause(
        self, tenses: str = "present past future", frames: tuple[str, ...] = MAIN, **options
    ) -> Clause:
        """Any clause with a subject of its own."""
        frame = self.pick(frames)
        if frame == "copula":
            return self.copula(self.described_subject(), tenses)
        verb = self.pick(_VERBS[frame])
        return self.fill(verb, self.subject(verb), tenses, **options)

    def clause_about(
        self, subject: Nominal, tenses: str, frames: tuple[str, ...] = MAIN, **options
    ) -> Clause:
        """Any clause with the subject given."""
        noun = subject.noun if isinstance(subject, NounPhrase) else None
        if frames is MAIN and self.chance(0.2) and (noun is None or adjectives(noun).all):
            return self.copula(subject, tenses)
        for _ in range(3):  # a frame that the noun has verbs in
            verbs = verbs_with_subject(noun, FRAMES.get(self.pick(frames), _ANY_FRAME))
            if verbs:
                return self.fill(self.pick(verbs), subject, tenses, **options)
        verbs = verbs_with_subject(noun, _ANY_FRAME)
        if verbs:
            return self.fill(self.pick(verbs), subject, tenses, **options)
        return self.copula(subject, tenses)

    def fill(
        self,
        verb: Verb,
        subject: Nominal,
        tenses: str,
        *,
        head: Nominal | None = None,
        role: str = "",
        adverbials: float = 1.0,
        statement: bool = True,
    ) -> Clause:
        """A clause of this verb; `head` is what fills `role` if the caller knows already."""
        clause = Clause(subject, verb)
        if role in ("object", "indirect", "oblique"):
            setattr(clause, role, head)
        self._add_objects(clause)
        if verb.frame in ("be-at", "go", "from") and role != "place":
            clause.place = self._verb_place(verb)
        elif verb.frame == "put":
            clause.place = self.place(places(verb.further, "placement"))
        self.add_tense(clause, tenses)
        heavy = statement and not role and self._add_relative(clause)
        self.add_adverbials(clause, adverbials, heavy)
        if statement and clause.frequency is None and self.chance(0.12):
            self.negate(clause)
        return clause

    def subject(self, verb: Verb) -> Nominal:
        """A subject that the verb selects."""
        nouns = members(verb.subjects)
        if "human" in verb.subjects:
            person = self.person(0.3)
            if person is not None:
                return person
        if self.chance(0.04):
            both = self.both(nouns)
            if both is not None:
                return both
        return self.noun_phrase(self.pick(nouns), SUBJECT)

    def object(self, verb: Verb, other: Nominal) -> Nominal:
        """The noun, pronoun or name that the verb governs besides its subject."""
        if "human" in verb.objects:
            person = self.person(0.22, other)
            if person is not None:
                return person
        choices = objects(verb)
        if self.chance(0.03):
            both = self.both(choices.seen)
            if both is not None:
                return both
        return self.noun_phrase(self.choose(choices), OBJECT)

    def _add_objects(self, clause: Clause) -> None:
        verb, subject = clause.verb, clause.subject
        match verb.frame:
            case "acc" | "put":
                clause.object = clause.object or self.object(verb, subject)
            case "dat":
                clause.indirect = clause.indirect or self.object(verb, subject)
            case "prep":
                clause.oblique = clause.oblique or self.object(verb, subject)
            case "give" | "give-to":
                clause.object = clause.object or self.object(verb, subject)
                if clause.indirect is None:
                    clause.indirect = self._receiver(clause)

    def _receiver(self, clause: Clause) -> Nominal:
        person = self.person(0.4, clause.subject)
        thing = clause.object
        bare = isinstance(thing, NounPhrase) and thing.determiner is None
        if isinstance(person, PronounPhrase) and person.pronoun.english == "she" and bare:
            person = None  # "gives her books" would be ambiguous
        return person or self.noun_phrase(self.pick(PERSONS), PLAIN, 0.2)

    def _verb_place(self, verb: Verb) -> PrepositionPhrase:
        kind = {"be-at": "static", "go": "directional", "from": "origin"}[verb.frame]
        return self.place(places(verb.objects, kind))

    def _add_relative(self, clause: Clause) -> bool:
        """Perhaps a relative clause; tells whether it stands at the English clause's end."""
        if not self._may_nest() or not self.chance(0.12 if self.level == 0 else 0.5):
            return False
        if isinstance(clause.subject, NounPhrase) and self.chance(0.4):
            if self._may_be_modified(clause.subject):
                clause.subject.relative = self.relative(clause.subject)
            return False
        last = clause.place or clause.object or clause.oblique or clause.indirect
        if clause.verb.frame == "give-to":
            last = clause.indirect
        if isinstance(last, PrepositionPhrase):
            last = last.nominal
        if not isinstance(last, NounPhrase) or not self._may_be_modified(last):
            return False
        last.relative = self.relative(last)
        return last.relative is not None

    def _may_nest(self) -> bool:
        return self.level == 0 or (self.level == 1 and self.novelty == "depth")

    @staticmethod
    def _may_be_modified(phrase: NounPhrase) -> bool:
        return (
            phrase.owner is None and phrase.relative is None and "mass" not in phrase.noun.classes
        )

    def relative(self, head: NounPhrase) -> Relative | None:
        """A relative clause in which the noun has a role that it can have."""
        role = self.pick(_ROLES)
        self.level += 1
        clause = self._relative_clause(head, role)
        if clause is not None:
            self.depth = max(self.depth, self.level)
        self.level -= 1
        return None if clause is None else Relative(clause, role)

    def _relative_clause(self, head: NounPhrase, role: str) -> Clause | None:
        noun, tenses = head.noun, "present past"
        if role == "subject":
            return self.clause_about(head, tenses, adverbials=0.5)
        if role == "owner":
            if "human" not in noun.classes:
                return None
            owned = self.noun_phrase(self.pick(_OWNED), ("bare",), 0.15, 0.0)
            owned.plural, owned.owner = self.chance(0.2), head
            return self.clause_about(owned, tenses, adverbials=0.5)
        if role == "place":
            return self._clause_in(head)
        frames = {"object": _OBJECT_FRAMES, "indirect": FRAMES["dat"], "oblique": FRAMES["prep"]}
        verbs = verbs_with_object(noun, frames[role], self.novelty != "combination")
        if not verbs:
            return None
        verb = self.pick(verbs)
        subject = self.person(0.4) or self.noun_phrase(self.pick(members(verb.subjects)), PLAIN)
        return self.fill(verb, subject, tenses, head=head, role=role, adverbials=0.4)

    def _clause_in(self, head: NounPhrase) -> Clause | None:
        """The house in which she works."""
        where = [pair for pair in OPEN_PLACES if pair[1] is head.noun]
        if not where:
            return None
        verb = self.pick(_STAYING)
        subject = self.person(0.4) or self.noun_phrase(self.pick(PERSONS), PLAIN)
        clause = self.fill(verb, subject, "present past", role="place", adverbials=0.0)
        clause.place = PrepositionPhrase(where[0][0], head)
        return clause
