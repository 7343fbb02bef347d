"""English: phrases, do-support and the order of a clause."""

from transformer.data.grammar.english_inflection import (
    indefinite_article,
    numeral,
    past,
    third_person,
)
from transformer.data.grammar.lexicon import Adjective, Noun
from transformer.data.grammar.syntax import (
    Adverb,
    Both,
    Clause,
    Infinitive,
    NamePhrase,
    Nominal,
    NounPhrase,
    Predicate,
    PrepositionPhrase,
    PronounPhrase,
    Relative,
    Sentence,
    Subordinate,
    Token,
)

_SEPARABLE = frozenset("up on off away along".split())  # picks him up, but looks for him


def person(nominal: Nominal) -> str:
    """Which form of "be" a subject takes: am, are or is."""
    if isinstance(nominal, PronounPhrase):
        return ("am", "are", "is", "are")[nominal.pronoun.person]
    plural = isinstance(nominal, Both) or (isinstance(nominal, NounPhrase) and nominal.plural)
    return "are" if plural else "is"


def write_nominal(out: list[Token], nominal: Nominal, objective: bool = True) -> None:
    """Writes a nominal with its relative clause; `objective` chooses him over he."""
    if isinstance(nominal, PronounPhrase):
        pronoun = nominal.pronoun
        form = pronoun.english_object if objective else pronoun.english
        out.append((form, nominal, "pronoun"))
    elif isinstance(nominal, NamePhrase):
        out.append((nominal.name.english, nominal, "name"))
    elif isinstance(nominal, Both):
        write_nominal(out, nominal.first)
        out.append(("and", nominal, "and"))
        write_nominal(out, nominal.second)
    else:
        _write_noun_phrase(out, nominal)


def _has_genitive(owner: Nominal | None) -> bool:
    """The teacher's house, but the door of the house."""
    return isinstance(owner, NamePhrase) or (
        isinstance(owner, NounPhrase) and not owner.noun.classes.isdisjoint(("person", "animal"))
    )


def _write_noun_phrase(out: list[Token], phrase: NounPhrase, whose: bool = False) -> None:
    owner, determiner = phrase.owner, phrase.determiner
    start = len(out)
    if not whose and _has_genitive(owner):
        write_nominal(out, owner)
        text, node, part = out[-1]
        ending = "'" if text.endswith("s") and getattr(owner, "plural", False) else "'s"
        out[-1] = (text + ending, node, part)
        if determiner is not None:  # das Haus des Lehrers: the article is the genitive's
            out.append(("", phrase, "determiner"))
    elif determiner is not None:
        form = determiner.english_plural if phrase.plural else determiner.english
        out.append((form, phrase, "determiner"))
    if phrase.number:
        out.append((numeral(phrase.number), phrase, "number"))
    if phrase.very:
        out.append(("very", phrase, "very"))
    for place, adjective in enumerate(phrase.adjectives):
        if place:
            out.append(("and", phrase, "and"))
        for word in _degree(adjective, phrase.degree).split():
            out.append((word, phrase, f"adjective {place}"))
    noun = phrase.noun
    out.append((noun.english_plural if phrase.plural else noun.english, phrase, "noun"))
    if determiner is not None and determiner.english == "a":
        out[start] = (indefinite_article(out[start + 1][0]), phrase, "determiner")
    if not whose and isinstance(owner, NounPhrase) and not _has_genitive(owner):
        out.append(("of", owner, "determiner"))
        write_nominal(out, owner)
    if phrase.relative is not None:
        _write_relative(out, phrase.relative, noun)


def _degree(adjective: Adjective, degree: str) -> str:
    return adjective.english_comparative if degree else adjective.english


def _write_prepositional(out: list[Token], phrase: PrepositionPhrase) -> None:
    for word in phrase.preposition.english.split():
        out.append((word, phrase, "preposition"))
    write_nominal(out, phrase.nominal)


def _write_adverb(out: list[Token], adverb: Adverb | PrepositionPhrase) -> None:
    if isinstance(adverb, PrepositionPhrase):
        _write_prepositional(out, adverb)
        return
    number = numeral(adverb.number) if adverb.number else ""
    out.extend(
        (number, adverb, "number") if word == "_" else (word, adverb, "words")
        for word in adverb.phrase.english.split()
    )


def _write_predicate(out: list[Token], predicate: Predicate) -> None:
    if predicate.nominal is not None:
        write_nominal(out, predicate.nominal)
    elif predicate.age:
        out.append((numeral(predicate.age), predicate, "number"))
        out.append(("years", predicate, "years"))
        out.append(("old", predicate, "old"))
    else:
        if predicate.degree is not None:
            out.append((predicate.degree.english, predicate, "degree"))
        if predicate.comparison == "equal":
            out.append(("as", predicate, "as"))
        degree = "comparative" if predicate.comparison == "more" else ""
        for word in _degree(predicate.adjective, degree).split():
            out.append((word, predicate, "adjective"))
    if predicate.standard is not None:
        out.append(("than" if predicate.comparison == "more" else "as", predicate, "than"))
        write_nominal(out, predicate.standard)


def _write_relative(out: list[Token], relative: Relative, head: Noun) -> None:
    clause, role = relative.clause, relative.role
    preposition, node = "", clause
    if role == "oblique":
        preposition = clause.verb.preposition.english
    elif role == "place":
        preposition, node = clause.place.preposition.english, clause.place
    for word in preposition.split():
        out.append((word, node, "preposition"))
    if role == "owner":
        pronoun = "whose"
    elif "person" in head.classes:
        pronoun = "who" if role == "subject" else "whom"
    else:
        pronoun = "which" if preposition else "that"
    out.append((pronoun, relative, "pronoun"))
    if role == "owner":
        _write_noun_phrase(out, clause.subject, whose=True)
        role = "subject"
    write_clause(out, clause, role)


def _verb_forms(clause: Clause, invert: bool) -> tuple[str, str, str]:
    """The finite auxiliary, the lexical modal and the form of the verb; each may be empty."""
    verb, modal = clause.verb, clause.modal
    copula = verb is None or verb.frame == "exist"
    agreement = person(clause.object if verb is not None and copula else clause.subject)
    do = "does" if agreement == "is" else "do"
    base = "be" if copula else verb.english
    if modal is not None and not modal.lexical:
        return modal.english, "", base
    if modal is not None:
        if invert or clause.negated:
            return "did" if modal.tense == "past" else do, modal.english_base, base
        return "", modal.english_third if do == "does" else modal.english, base
    if copula:
        return ("were" if agreement == "are" else "was") if clause.past else agreement, "", ""
    if invert or clause.negated:
        return "did" if clause.past else do, "", base
    if clause.past:
        return "", "", past(verb)
    return "", "", third_person(verb) if do == "does" else base


def write_clause(out: list[Token], clause: Clause, skip: str = "", invert: bool = False) -> None:
    """Writes a clause without the role `skip`; `invert` puts the auxiliary before the subject."""
    auxiliary, lexical, form = _verb_forms(clause, invert)
    if not invert and skip != "subject":
        write_nominal(out, clause.subject, objective=False)
    if auxiliary:
        out.append((auxiliary, clause, "modal" if clause.modal else "verb"))
    if invert:
        write_nominal(out, clause.subject, objective=False)
    if clause.negated and auxiliary == "can" and not invert:
        out[-1] = ("cannot", clause, "modal")
        out.append(("", clause, "not"))
    elif clause.negated:
        out.append(("not", clause, "not"))
    if clause.frequency is not None:
        _write_adverb(out, clause.frequency)
    for word in lexical.split():
        out.append((word, clause, "modal"))
    if form:
        out.append((form, clause, "verb"))
    _write_rest(out, clause, skip)


def _write_rest(out: list[Token], clause: Clause, skip: str) -> None:
    verb = clause.verb
    particle = verb.particle if verb is not None else ""
    split = particle in _SEPARABLE and isinstance(clause.object, PronounPhrase)
    if not split:
        _write_particle(out, clause, particle)
    order = ("object", "indirect") if verb and verb.frame == "give-to" else ("indirect", "object")
    for role in order:
        nominal = getattr(clause, role)
        if nominal is None or role == skip:
            continue
        if role == "indirect" and verb.frame == "give-to":
            out.append(("to", nominal, "to"))
        write_nominal(out, nominal)
    if split:
        _write_particle(out, clause, particle)
    if clause.predicate is not None:
        _write_predicate(out, clause.predicate)
    if clause.oblique is not None and skip != "oblique":
        _write_oblique(out, clause)
    if clause.partner is not None:
        _write_prepositional(out, clause.partner)
    if clause.manner is not None:
        _write_adverb(out, clause.manner)
    if clause.place is not None and skip != "place":
        _write_prepositional(out, clause.place)
    if clause.time is not None and skip != "time":
        _write_adverb(out, clause.time)
    if clause.complement is not None:
        _write_dependent(out, clause.complement)


def _write_particle(out: list[Token], clause: Clause, particle: str) -> None:
    out.extend((word, clause, "verb") for word in particle.split())


def _write_oblique(out: list[Token], clause: Clause) -> None:
    if clause.verb.preposition.english:
        out.append((clause.verb.preposition.english, clause, "preposition"))
    write_nominal(out, clause.oblique)


def _write_dependent(out: list[Token], dependent: Subordinate | Infinitive) -> None:
    clause = dependent.clause
    if isinstance(dependent, Subordinate):
        for word in dependent.conjunction.english.split():
            out.append((word, dependent, "conjunction"))
        write_clause(out, clause)
        return
    if dependent.purpose:
        out.append(("in", dependent, "purpose"))
        out.append(("order", dependent, "purpose"))
    out.append(("to", clause, "to"))
    out.append((clause.verb.english, clause, "verb"))
    _write_rest(out, clause, "")


def _write_front(out: list[Token], clause: Clause) -> None:
    match clause.front:
        case "subject":
            write_nominal(out, clause.subject, objective=False)
        case "object" | "indirect":
            write_nominal(out, getattr(clause, clause.front))
        case "oblique":
            _write_oblique(out, clause)
        case "place":
            _write_prepositional(out, clause.place)
        case "time":
            _write_adverb(out, clause.time)


def write_sentence(sentence: Sentence) -> list[Token]:
    """The English sentence as tokens, not yet capitalised."""
    out: list[Token] = []
    main, second = sentence.main, sentence.second
    if sentence.subordinate is not None and sentence.subordinate_first:
        _write_dependent(out, sentence.subordinate)
        out.append((",", sentence.subordinate, "end"))
    elif sentence.wh is not None:
        out.append((sentence.wh.english, sentence, "wh"))
    elif sentence.comment is not None:
        _write_adverb(out, sentence.comment)
        if out[-1][0] != "perhaps":
            out.append((",", sentence, "comment"))
    elif main.front:
        _write_front(out, main)
    write_clause(out, main, main.front, sentence.question and main.front != "subject")
    if second is not None:
        if sentence.coordinator.english == "but":
            out.append((",", sentence, "comma"))
        out.append((sentence.coordinator.english, sentence, "and"))
        same = second.subject is main.subject
        write_clause(out, second, "subject" if same else "")
    if sentence.subordinate is not None and not sentence.subordinate_first:
        _write_dependent(out, sentence.subordinate)
    out.append(("?" if sentence.question else ".", sentence, "end"))
    return out
