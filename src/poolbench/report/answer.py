"""The answer in sentences, written from a study's rankings by rules that never say more than the intervals hold."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from poolbench.report.records import metric
from poolbench.report.summary import ACCURACY, CONSISTENCY, SPEED

TOPICS = {ACCURACY: "Accuracy", CONSISTENCY: "Consistency", SPEED: "Speed"}
VERDICTS = ("reproduced", "contradicted", "undecided")
NAMED = 6
"""How many variants a sentence names; the study's table has them all."""


def answer(study: Mapping[str, Any]) -> dict[str, str]:
    """What one study of a summary says, a sentence a heading: each ranked metric, all of them together, its claims."""
    rankings = study["rankings"]
    places = rankings[study["ranked"][0]]
    sentences = {}
    if len(places) > 1:
        sentences = {topic(key): leader(study, key) for key in study["ranked"]}
        if len(rankings) > 1 and all(place["n"] > 1 for place in places):
            sentences["Together"] = together(study)
    elif places:
        sentences[topic(study["ranked"][0])] = (
            f"Only {study['names'][places[0]['cell']]} has been evaluated, so there is nothing to compare."
        )
    if study["claims"]:
        sentences["Claims"] = verdicts(study["claims"])
    if study["missing"]:
        sentences["Missing"] = f"Not evaluated, so not ranked: {listing(study['missing'])}."
    return sentences


def topic(key: str) -> str:
    """What a metric is about, in a word.

    >>> topic("cost.step"), topic("test.macro_f1")
    ('Speed', 'Macro F1')
    """
    title = metric(key).title
    return TOPICS.get(key, title[0].upper() + title[1:])


def leader(study: Mapping[str, Any], key: str) -> str:
    """Who leads in one metric, by how much, and who cannot be told from the leader."""
    names, places = study["names"], study["rankings"][key]
    best, second = places[0], places[1]
    name, shown = names[best["cell"]], metric(key)
    if best["low"] is None:
        return (
            f"{name} has the {shown.best}, {shown.quantity(best['mean'])}, in a single run: "
            "without more seeds no difference can be told from chance."
        )
    said = f"{name} has the {shown.best}, {shown.quantity(best['mean'])} ({shown.interval(best)}, n = {best['n']})"
    tied = best["indistinguishable_from"]
    if tied:
        return f"{said}, but cannot be told apart from {_tied(study, tied, len(places))}."
    return f"{said}, ahead of {names[second['cell']]} by {_gap(second['behind'], key)}."


def together(study: Mapping[str, Any]) -> str:
    """Which variants hold up in all ranked metrics at once, else in two of them; for studies with repeated runs."""
    names, rankings = study["names"], study["rankings"]
    best = {key: _not_behind(places) for key, places in rankings.items()}

    def holding(keys: Sequence[str]) -> list[str]:
        return [names[cell] for cell in best[keys[0]] if all(cell in best[key] for key in keys)]

    asked = listing(topic(key).lower() for key in best)
    if held := holding(list(best)):
        verb = "is" if len(held) == 1 else "are"
        return f"In {asked} at once, {few(held)} {verb} not measurably behind the best."
    said = f"No variant is among the best in {asked} at once."
    if len(best) > 2:
        pairs = [
            f"{few(held)} in {listing(topic(key).lower() for key in keys)}"
            for keys in combinations(best, 2)
            if (held := holding(keys))
        ]
        said += f" Among the best in two: {'; '.join(pairs)}." if pairs else " Nor is any in two of them."
    return said


def verdicts(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many published claims hold here.

    >>> verdicts([{"verdict": "undecided"}, {"verdict": "reproduced"}])
    'Of 2 published claims, 1 is reproduced and 1 undecided.'
    """
    counts = Counter(claim["verdict"] for claim in claims)
    if len(claims) == 1:
        return f"The published claim is {claims[0]['verdict']}: {claims[0]['says']}."
    found = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    first, _, rest = listing(found).partition(" ")
    return f"Of {len(claims)} published claims, {first} {'is' if first == '1' else 'are'} {rest}."


def finding(claim: Mapping[str, Any]) -> str:
    """How far the runs put a claim's better side ahead, and how many would decide what these do not."""
    ahead, shown = claim["ahead"], metric(claim["metric"])
    if ahead is None:
        return "not evaluated on seeds that both share"
    figures = f"{shown.difference(ahead['mean'])} {shown.step} ({shown.difference_interval(ahead)}, n = {ahead['n']})"
    if claim["verdict"] != "undecided" or ahead["low"] is None:
        return figures
    more = "more than 1,000" if claim["seeds_needed"] is None else f"about {claim['seeds_needed']:,}"
    return f"{figures}; {more} seeds would decide"


def listing(words: Iterable[str]) -> str:
    """Words as a sentence lists them.

    >>> listing(["max", "average", "blur"])
    'max, average and blur'
    """
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def few(words: Sequence[str]) -> str:
    """The first of many words, and how many more there are.

    >>> few(list("abcdefghi"))
    'a, b, c, d, e, f and 3 others'
    """
    return listing(words) if len(words) <= NAMED + 1 else listing([*words[:NAMED], f"{len(words) - NAMED} others"])


def _tied(study: Mapping[str, Any], tied: Sequence[str], cells: int) -> str:
    return "any other" if 2 < cells == len(tied) + 1 else few([study["names"][cell] for cell in tied])


def _not_behind(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cell with the best mean, and those that it cannot be told apart from."""
    return [places[0]["cell"], *places[0]["indistinguishable_from"]]


def _gap(behind: Mapping[str, Any], key: str) -> str:
    """The size of a paired difference that is known to leave zero out."""
    shown = metric(key)
    sizes = (abs(behind["mean"]), *sorted((abs(behind["low"]), abs(behind["high"]))))
    mean, low, high = (shown.difference(size).lstrip("+") for size in sizes)
    return f"{mean} {shown.step} ({low} to {high})"
