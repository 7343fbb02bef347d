"""Random sentences: statements, questions, and what is joined to them."""

from transformer.data.grammar import lexicon as lex
from transformer.data.grammar.clauses import ACTIONS, FRAMES, MAIN, Clauses
from transformer.data.grammar.lexicon import DETERMINERS, PRONOUNS, Conjunction
from transformer.data.grammar.phrases import weighted
from transformer.data.grammar.predicates import is_person
from transformer.data.grammar.selection import objects, verbs_with_subject
from transformer.data.grammar.syntax import (
    Adverb,
    Clause,
    Infinitive,
    Nominal,
    NounPhrase,
    PronounPhrase,
    Sentence,
    Subordinate,
)

_KINDS = weighted(
    statement=43,
    adverbial=16,
    content=9,
    infinitive=6,
    purpose=4,
    question=13,
    coordination=6,
    existence=3,
)
_DEEP_KINDS = weighted(statement=35, adverbial=40, content=25)
_QUESTIONS = weighted(polar=40, who=12, whom=9, what=12, which=11, where=8, adverb=8)
_PERSONAL_FRAMES = frozenset(("none", "acc", "dat", "give", "give-to", "prep", "put", "go"))
_ACTIVE = tuple(verb for verb in verbs_with_subject(None, _PERSONAL_FRAMES) if "t" in verb.adjuncts)
_ARRIVING = frozenset("arrive wake fall disappear forget lose break rest have".split())
_INTENDED = tuple(verb for verb in _ACTIVE if verb.english not in _ARRIVING)
_PURPOSES = tuple(verb for verb in _INTENDED if verb.frame not in ("none", "go", "put"))
_GOING = tuple(
    verb
    for verb in verbs_with_subject(None, _PERSONAL_FRAMES)
    if (verb.frame == "go" and verb.english not in ("climb", "jump")) or verb.english == "hurry"
)
_CONTENT, _INFINITIVAL = (
    tuple(verb for verb in lex.VERBS if verb.frame in frames or frames.intersection(verb.further))
    for frames in (frozenset(("that", "whether")), frozenset(("to",)))
)
_CONJUNCTIONS = tuple(lex.CONJUNCTIONS.values())
_TEMPORAL = frozenset(("before", "while", "as soon as"))
_WHO, _WHAT = PRONOUNS["who"], PRONOUNS["what"]
_THING_VERBS = tuple(
    verb
    for verb in verbs_with_subject(None, frozenset(("acc", "give", "give-to")))
    if "human" not in verb.objects
)
_PLACED = tuple(
    verb
    for verb in verbs_with_subject(None, frozenset(("be-at", "go", "put")))
    if verb.english not in ("climb", "jump")
)
_FEMALE = frozenset(("girl",))


class Sentences(Clauses):
    """Draws whole sentences; a new instance for every split."""

    def sentence(self) -> Sentence:
        """The next random sentence; `depth` tells how deep its clauses nest."""
        self.level = self.depth = 0
        kind = self.pick(_DEEP_KINDS if self.novelty == "depth" else _KINDS)
        return getattr(self, f"_{kind}")()

    def _statement(self) -> Sentence:
        clause = self.clause()
        sentence = Sentence(clause)
        self._add_front(sentence)
        return sentence

    def _add_front(self, sentence: Sentence) -> None:
        """Perhaps moves the time or the place to the front, or opens with a comment."""
        clause = sentence.main
        free = clause.verb is not None and clause.verb.frame in ("none", "acc")
        if clause.time is not None and self.chance(0.45):
            clause.front = "time"
        elif free and clause.place is not None and clause.partner is None and self.chance(0.2):
            clause.front = "place"
        elif not clause.negated and clause.frequency is None and self.chance(0.06):
            sentence.comment = Adverb(self.pick(lex.COMMENTS))

    def _nested(self, build, *arguments, **options) -> Clause:
        """A clause one level further down."""
        self.level += 1
        clause = build(*arguments, **options)
        self.depth = max(self.depth, self.level)
        self.level -= 1
        return clause

    def _adverbial(self) -> Sentence:
        """Because, although, when, ...: before or after the main clause."""
        conjunction = self.pick(_CONJUNCTIONS)
        temporal = conjunction.english in _TEMPORAL
        tenses = "present past future" if "past" in conjunction.tenses else "present future"
        main = self.clause(tenses, ACTIONS if temporal else MAIN, adverbials=0.5)
        tense = "past" if self.tense_of(main) == "past" else "present"
        clause = self._dependent(main.subject, tense, temporal)
        subordinate = Subordinate(conjunction, clause)
        first = self.chance(0.35)
        sentence = Sentence(main, subordinate=subordinate, subordinate_first=first)
        if not first and main.time is not None and self.chance(0.4):
            main.front = "time"
        return sentence

    def _dependent(self, subject: Nominal, tense: str, temporal: bool) -> Clause:
        if self.chance(0.07):
            return self._nested(self.weather, tense)
        frames = ACTIONS if temporal else MAIN
        again = self._again(subject) if self.chance(0.5) else None
        if again is not None:
            clause = self._nested(self.clause_about, again, tense, frames, adverbials=0.5)
        else:
            clause = self._nested(self.clause, tense, frames, adverbials=0.5)
        if temporal:
            clause.negated, clause.frequency = False, None
        return clause

    def _again(self, subject: Nominal) -> PronounPhrase | None:
        """The pronoun for a person who was mentioned."""
        if isinstance(subject, PronounPhrase):
            return PronounPhrase(subject.pronoun) if is_person(subject) else None
        if not isinstance(subject, NounPhrase) or not is_person(subject):
            return None
        noun = subject.noun
        if subject.plural:
            return PronounPhrase(PRONOUNS["they"])
        if noun.gender == 2 and noun.english not in _FEMALE:
            return None
        return PronounPhrase(PRONOUNS["he" if noun.gender == 0 else "she"])

    def _content(self) -> Sentence:
        """A clause that is said, believed, asked."""
        verb = self.pick(_CONTENT)
        main = Clause(self.subject(verb), verb)
        self.add_tense(main, "present past")
        main.modal = None
        open_question = verb.frame == "whether" or ("whether" in verb.further and self.chance(0.5))
        if open_question and self.chance(0.4):
            word = self.pick(tuple(lex.QUESTION_WORDS.values()))
            inner = self._nested(self.clause, "present past", adverbials=0.0)
            if word.german == "wo":
                word = self._take_place(inner) or lex.QUESTION_WORDS["why"]
            main.complement = Subordinate(word, inner)
        else:
            conjunction = lex.WHETHER if open_question else lex.THAT
            inner = self._nested(self._said_clause, main)
            main.complement = Subordinate(conjunction, inner)
        if open_question and verb.frame == "that" and self.chance(0.6):
            self.negate(main)
        sentence = Sentence(main)
        if self.chance(0.12):
            main.time = self.time(self.tense_of(main))
            main.front = "time"
        return sentence

    def _said_clause(self, main: Clause) -> Clause:
        tenses = "past" if main.past else "present past future"
        again = self._again(main.subject) if self.chance(0.35) else None
        if again is not None:
            return self.clause_about(again, tenses, adverbials=0.5)
        return self.clause(tenses, adverbials=0.5)

    def _take_place(self, clause: Clause) -> Conjunction | None:
        """Takes the place out of the clause; None if it has none that can be asked for."""
        if clause.place is None or (clause.verb is not None and clause.verb.frame == "from"):
            return None
        clause.place = None
        directional = clause.verb is not None and clause.verb.frame in ("go", "put")
        return lex.WHERE_TO if directional else lex.QUESTION_WORDS["where"]

    def _infinitive(self) -> Sentence:
        """He tries to read the book."""
        verb = self.pick(_INFINITIVAL)
        main = Clause(self.subject(verb), verb)
        self.add_tense(main, "present past")
        main.modal = None
        main.complement = Infinitive(self._without_subject(main.subject))
        if self.chance(0.15):
            main.time = self.time(self.tense_of(main))
            main.front = "time"
        elif self.chance(0.1):
            self.negate(main)
        return Sentence(main)

    def _without_subject(self, subject: Nominal, purpose: bool = False) -> Clause:
        verb = self.pick(_PURPOSES if purpose else _INTENDED)
        clause = self._nested(self.fill, verb, subject, "present", adverbials=0.4, statement=False)
        clause.modal, clause.past, clause.time, clause.frequency = None, False, None, None
        return clause

    def _purpose(self) -> Sentence:
        """She goes to the market in order to buy bread."""
        verb = self.pick(_GOING)
        subject = self.subject(verb)
        main = self.fill(verb, subject, "present past future", adverbials=0.3, statement=False)
        main.complement = Infinitive(self._without_subject(subject, True), purpose=True)
        sentence = Sentence(main)
        if main.time is not None:
            main.front = "time"
        return sentence

    def _coordination(self) -> Sentence:
        """Two main clauses, or two predicates of one subject."""
        self.level += 1  # no relative clause before "and"
        first = self.clause(adverbials=0.4)
        plain = not first.negated and first.modal is None
        second = self._second_predicate(first) if plain and self.chance(0.6) else None
        if second is None:
            second = self.clause("present past", adverbials=0.4)
        self.level -= 1
        if first.time is not None and self.chance(0.4):
            first.front = "time"
        coordinator = lex.AND if self.chance(0.65) else lex.BUT
        return Sentence(first, coordinator=coordinator, second=second)

    def _second_predicate(self, first: Clause) -> Clause | None:
        """Another clause of the same subject and tense, with another verb."""
        for _ in range(4):
            tense = "past" if first.past else "present"
            second = self.clause_about(first.subject, tense, adverbials=0.4)
            if not second.negated and second.modal is None and second.verb is not first.verb:
                return second
        return None

    def _existence(self) -> Sentence:
        clause = self.existence("present past")
        return Sentence(clause)

    def _question(self) -> Sentence:
        kind = self.pick(_QUESTIONS)
        self.level += 1  # questions have no relative clauses
        main, wh = getattr(self, f"_ask_{kind}")()
        self.level -= 1
        return Sentence(main, question=True, wh=wh)

    def _ask_polar(self) -> tuple[Clause, None]:
        return self.clause(adverbials=0.7), None

    def _ask_who(self) -> tuple[Clause, None]:
        clause = self.clause_about(PronounPhrase(_WHO), "present past future", adverbials=0.6)
        clause.front = "subject"
        return clause, None

    def _ask_whom(self) -> tuple[Clause, None]:
        frame, role = self.pick((("acc", "object"), ("dat", "indirect"), ("prep", "oblique")))
        verbs = tuple(
            verb for verb in verbs_with_subject(None, FRAMES[frame]) if "human" in verb.objects
        )
        return self._ask_for(self.pick(verbs), PronounPhrase(_WHO), role)

    def _ask_what(self) -> tuple[Clause, None]:
        return self._ask_for(self.pick(_THING_VERBS), PronounPhrase(_WHAT), "object")

    def _ask_which(self) -> tuple[Clause, None]:
        verb = self.pick(_THING_VERBS)
        object_ = self.noun_phrase(self.choose(objects(verb)), ("the",), 0.2, 0.0)
        object_.determiner = DETERMINERS["which"]
        return self._ask_for(verb, object_, "object")

    def _ask_for(self, verb, asked: Nominal, role: str) -> tuple[Clause, None]:
        subject = self.subject(verb)
        clause = self.fill(
            verb,
            subject,
            "present past future",
            head=asked,
            role=role,
            adverbials=0.5,
            statement=False,
        )
        clause.front = role
        return clause, None

    def _ask_where(self) -> tuple[Clause, Conjunction]:
        verb = self.pick(_PLACED)
        clause = self.fill(verb, self.subject(verb), "present past future", adverbials=0.3)
        return clause, self._take_place(clause)

    def _ask_adverb(self) -> tuple[Clause, Conjunction]:
        clause = self.clause(adverbials=0.3)
        clause.time = None
        return clause, lex.QUESTION_WORDS["why" if self.chance(0.5) else "when"]
