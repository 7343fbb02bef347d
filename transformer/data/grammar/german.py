"""German word order: prefield, finite verb, middle field, right bracket, postfield.

The finite verb comes second in a main clause, first in a yes/no question, and closes the right
bracket of a subordinate clause. A relative clause of anything but the subject moves to the
postfield, behind the bracket, as it does in natural prose.
"""

from typing import Literal

from transformer.data.grammar.german_inflection import (
    HABEN,
    RELATIVE,
    SEIN,
    WAR,
    present,
    preterite,
)
from transformer.data.grammar.german_phrases import (
    Late,
    column_of,
    write_adverb,
    write_nominal,
    write_predicate,
    write_prepositional,
)
from transformer.data.grammar.lexicon import ACCUSATIVE, DATIVE, GENITIVE, NO, NOMINATIVE
from transformer.data.grammar.syntax import (
    Both,
    Clause,
    Infinitive,
    Nominal,
    NounPhrase,
    PrepositionPhrase,
    PronounPhrase,
    Relative,
    Sentence,
    Subordinate,
    Token,
)

Order = Literal["main", "final", "infinitive"]


def person(nominal: Nominal) -> int:
    """The index of the verb form that a subject calls for: ich, du, er, wir."""
    if isinstance(nominal, PronounPhrase):
        return nominal.pronoun.person
    plural = isinstance(nominal, Both) or (isinstance(nominal, NounPhrase) and nominal.plural)
    return 3 if plural else 2


def _write_subject_phrase(out: list[Token], subject: Nominal) -> None:
    late: Late = []
    write_nominal(out, subject, NOMINATIVE, late)
    _write_relatives(out, late)


def _write_relatives(out: list[Token], late: Late) -> None:
    for relative, head in late:
        _write_relative(out, relative, head)


def _write_relative(out: list[Token], relative: Relative, head: NounPhrase) -> None:
    clause, role = relative.clause, relative.role
    out.append((",", relative, "comma"))
    column = column_of(head)
    case = {"subject": NOMINATIVE, "object": ACCUSATIVE, "indirect": DATIVE}.get(role, GENITIVE)
    if role in ("oblique", "place"):
        preposition = clause.verb.preposition if role == "oblique" else clause.place.preposition
        node = clause if role == "oblique" else clause.place
        out.append((preposition.german, node, "preposition"))
        case = preposition.case
    out.append((RELATIVE[case][column], relative, "pronoun"))
    if role == "owner":
        _write_subject_phrase(out, clause.subject)
        role = "subject"
    write_clause(out, clause, "final", role)
    out.append((",", relative, "end"))


def _negated_article(clause: Clause, skip: str) -> Nominal | None:
    """The indefinite object that turns "nicht" into "kein"."""
    target = clause.object or clause.indirect
    if target is not None and target is getattr(clause, skip or "subject"):
        return None
    if not clause.negated or not isinstance(target, NounPhrase) or target.number or target.owner:
        return None
    indefinite = target.determiner is None or target.determiner.german == "ein"
    return target if indefinite else None


def _verb_forms(clause: Clause) -> tuple[str, str, str, str]:
    """The finite form, the prefix it leaves in a main clause, the infinite form, its part."""
    verb, who = clause.verb, person(clause.subject)
    if clause.modal is not None:
        infinitive = verb.prefix + verb.german if verb else "sein"
        return clause.modal.german[who], "", infinitive, "modal"
    if verb is None:
        return (WAR if clause.past else SEIN)[who], "", "", "verb"
    if not clause.past:
        return present(verb)[who], verb.prefix, "", "verb"
    if verb.preterite:
        return preterite(verb)[who], "", "", "verb"
    auxiliary = SEIN if verb.auxiliary == "sein" else HABEN
    return auxiliary[who], "", verb.participle, "verb"


def write_clause(
    out: list[Token], clause: Clause, order: Order, skip: str = "", elliptic: bool = False
) -> None:
    """Writes a clause from its finite verb (main) or subject (final) on, without the role `skip`.

    The caller has written what stands before: the prefield, a conjunction or a relative pronoun.
    An `elliptic` main clause does without its finite verb.
    """
    finite, prefix, infinite, part = _verb_forms(clause)
    late: Late = []
    if order == "main" and not elliptic:
        out.append((finite, clause, part))
    _write_subject(out, clause, order, skip)
    _write_middle(out, clause, skip, late)
    if order == "infinitive":
        _write_zu(out, clause)
    elif order == "main":
        for form in (prefix, infinite):
            if form:
                out.append((form, clause, "verb"))
    else:
        if infinite:
            out.append((infinite, clause, "verb"))
        out.append((prefix + finite, clause, part))
    _write_relatives(out, late)
    if clause.complement is not None:
        _write_dependent(out, clause.complement)


def _is_definite(nominal: Nominal) -> bool:
    if not isinstance(nominal, NounPhrase) or nominal.owner is not None:
        return True
    determiner = nominal.determiner
    return determiner is not None and determiner.definite


def _write_zu(out: list[Token], clause: Clause) -> None:
    verb, node = clause.verb, clause
    if verb.prefix:
        out.append((f"{verb.prefix}zu{verb.german}", node, "verb"))
        out.append(("", node, "to"))
    else:
        out.append(("zu", node, "to"))
        out.append((verb.german, node, "verb"))


def _write_subject(out: list[Token], clause: Clause, order: Order, skip: str) -> None:
    """Writes the subject and "sich", which goes before a noun behind the finite verb."""
    verb, subject = clause.verb, clause.subject
    pronoun = isinstance(subject, PronounPhrase)
    reflexive = None
    if verb is not None and verb.reflexive:
        reflexive = (subject.pronoun.reflexive if pronoun else "sich", clause, "verb")
    written = skip != "subject" and order != "infinitive"
    first = written and order == "main" and not pronoun
    if reflexive and first:
        out.append(reflexive)
    if written:
        _write_subject_phrase(out, subject)
    if reflexive and not first:
        out.append(reflexive)


def _write_middle(out: list[Token], clause: Clause, skip: str, late: Late) -> None:
    """The middle field: what is known, when, what is new, "nicht", how, where.

    Definite objects come before adverbs and indefinite ones behind them: er gibt dem Kind heute
    einen Ball. Last is what the verb governs with a preposition.
    """
    kein = _negated_article(clause, skip)
    nicht = clause.negated and kein is None
    indefinite = []
    objects = (("indirect", clause.indirect, DATIVE), ("object", clause.object, ACCUSATIVE))
    if isinstance(clause.object, PronounPhrase):  # er gibt sie ihm
        objects = objects[::-1]
    for role, nominal, case in objects:
        if nominal is None or role == skip:
            continue
        if _is_definite(nominal):
            write_nominal(out, nominal, case, late)
        else:
            indefinite.append((nominal, case))
    if clause.frequency is not None:
        write_adverb(out, clause.frequency, late)
    if clause.time is not None and skip != "time":
        write_adverb(out, clause.time, late)
    for nominal, case in indefinite:
        write_nominal(out, nominal, case, late, NO if nominal is kein else None)
    if nicht:
        out.append(("nicht", clause, "not"))
    elif kein is not None:
        out.append(("", clause, "not"))  # belongs to "kein"
    if clause.predicate is not None:
        write_predicate(out, clause.predicate, late)
    if clause.partner is not None:
        write_prepositional(out, clause.partner, late)
    if clause.manner is not None:
        write_adverb(out, clause.manner, late)
    if clause.place is not None and skip != "place":
        write_prepositional(out, clause.place, late)
    if clause.oblique is not None and skip != "oblique":
        _write_oblique(out, clause, late)


def _write_oblique(out: list[Token], clause: Clause, late: Late) -> None:
    preposition = clause.verb.preposition
    start = len(out)
    write_prepositional(out, PrepositionPhrase(preposition, clause.oblique), late)
    out[start] = (out[start][0], clause, "preposition")


def _write_dependent(out: list[Token], dependent: Subordinate | Infinitive) -> None:
    out.append((",", dependent, "comma"))
    if isinstance(dependent, Subordinate):
        conjunction = dependent.conjunction
        past = dependent.clause.past or "past" in getattr(dependent.clause.modal, "tense", "")
        form = conjunction.german_past if past else conjunction.german
        out.append((form, dependent, "conjunction"))
        write_clause(out, dependent.clause, "final")
    else:
        if dependent.purpose:
            out.append(("um", dependent, "purpose"))
        write_clause(out, dependent.clause, "infinitive")
    out.append((",", dependent, "end"))


def _write_prefield(out: list[Token], clause: Clause) -> None:
    late: Late = []
    match clause.front:
        case "" | "subject":
            write_nominal(out, clause.subject, NOMINATIVE, late)
        case "object":
            write_nominal(out, clause.object, ACCUSATIVE, late)
        case "indirect":
            write_nominal(out, clause.indirect, DATIVE, late)
        case "oblique":
            _write_oblique(out, clause, late)
        case "place":
            write_prepositional(out, clause.place, late)
        case "time":
            write_adverb(out, clause.time, late)
    _write_relatives(out, late)


def write_sentence(sentence: Sentence) -> list[Token]:
    """The German sentence as tokens, not yet capitalised; redundant commas are still there."""
    out: list[Token] = []
    main, second = sentence.main, sentence.second
    skip = main.front
    if sentence.subordinate is not None and sentence.subordinate_first:
        _write_dependent(out, sentence.subordinate)
        del out[0]  # the comma before the conjunction
    elif sentence.wh is not None:
        out.append((sentence.wh.german, sentence, "wh"))
    elif sentence.comment is not None:
        write_adverb(out, sentence.comment, [])
    elif main.front or not sentence.question:
        skip = main.front or "subject"
        _write_prefield(out, main)
    write_clause(out, main, "main", skip)
    if second is not None:
        _write_second(out, sentence, second)
    if sentence.subordinate is not None and not sentence.subordinate_first:
        _write_dependent(out, sentence.subordinate)
    out.append(("?" if sentence.question else ".", sentence, "end"))
    return out


def _write_second(out: list[Token], sentence: Sentence, second: Clause) -> None:
    coordinator = sentence.coordinator
    if coordinator.german == "aber":
        out.append((",", sentence, "comma"))
    out.append((coordinator.german, sentence, "and"))
    if second.subject is not sentence.main.subject:
        _write_subject_phrase(out, second.subject)
    write_clause(out, second, "main", "subject", _share_auxiliary(sentence.main, second))


def _share_auxiliary(first: Clause, second: Clause) -> bool:
    """Er hat gegessen und getrunken, but er hat gegessen und ist gegangen."""
    (one, _, infinite, _), (other, _, also, _) = _verb_forms(first), _verb_forms(second)
    return bool(second.subject is first.subject and one == other and infinite and also)
