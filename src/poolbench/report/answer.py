"""The answer in sentences, written from a study's rankings by rules that never say more than the intervals hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from poolbench.report.records import metric
from poolbench.report.summary import ACCURACY, CONSISTENCY, SPEED

_SUPERLATIVE = {
    ACCURACY: "most accurate",
    CONSISTENCY: "most consistent under shifts",
    SPEED: "fastest to train on 1,000 images",
}
_BEST_VALUE = {
    ACCURACY: "highest accuracy",
    CONSISTENCY: "highest shift consistency",
    SPEED: "shortest training step on 1,000 images",
}


def answer(study: Mapping[str, Any]) -> dict[str, str]:
    """What one study of a summary says, a sentence a heading: accuracy, consistency, both together, speed."""
    places = study["rankings"][ACCURACY]
    sentences = {}
    if len(places) > 1:
        sentences["Accuracy"] = leader(study, ACCURACY)
        sentences["Consistency"] = leader(study, CONSISTENCY)
        if all(place["n"] > 1 for place in places):
            sentences["Both"] = both(study)
        sentences["Speed"] = leader(study, SPEED)
    elif places:
        sentences["Accuracy"] = (
            f"Only {study['names'][places[0]['cell']]} has been evaluated, so there is nothing to compare."
        )
    if study["missing"]:
        sentences["Missing"] = f"Not evaluated, so not ranked: {listing(study['missing'])}."
    return sentences


def leader(study: Mapping[str, Any], key: str) -> str:
    """Who leads in one metric, by how much, and who cannot be told from the leader."""
    names, places = study["names"], study["rankings"][key]
    best, second = places[0], places[1]
    name, shown = names[best["cell"]], metric(key)
    if best["low"] is None:
        return (
            f"{name} has the {_BEST_VALUE[key]}, {shown.quantity(best['mean'])}, in a single run: "
            "without more seeds no difference can be told from chance."
        )
    figures = f"{shown.quantity(best['mean'])} ({shown.interval(best)}, n = {best['n']})"
    tied = best["indistinguishable_from"]
    if tied:
        others = _tied(study, tied, len(places))
        return f"{name} has the {_BEST_VALUE[key]}, {figures}, but cannot be told apart from {others}."
    gap = _gap(second["behind"], key)
    return f"{name} is the {_SUPERLATIVE[key]}: {figures}, ahead of {names[second['cell']]} by {gap}."


def both(study: Mapping[str, Any]) -> str:
    """Whether one variant holds up in accuracy and consistency at once; only for studies with repeated runs."""
    names = study["names"]
    accurate, consistent = (_not_behind(study["rankings"][key]) for key in (ACCURACY, CONSISTENCY))
    holding = [names[cell] for cell in accurate if cell in consistent]
    if holding:
        verb = "is" if len(holding) == 1 else "are"
        return f"In both at once, {listing(holding)} {verb} not measurably behind the best."
    return (
        f"No variant holds both: {names[accurate[0]]} is measurably less consistent than {names[consistent[0]]}, "
        f"and {names[consistent[0]]} measurably less accurate than {names[accurate[0]]}."
    )


def finding(claim: Mapping[str, Any]) -> str:
    """How far the runs put a claim's better side ahead, and how many would decide what these do not."""
    ahead, shown = claim["ahead"], metric(claim["metric"])
    if ahead is None:
        return "not evaluated on seeds that both share"
    unit = "points" if shown.unit == "%" else shown.unit
    figures = f"{shown.difference(ahead['mean'])} {unit} ({shown.difference_interval(ahead)}, n = {ahead['n']})"
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


def _tied(study: Mapping[str, Any], tied: Sequence[str], cells: int) -> str:
    return "any other" if 2 < cells == len(tied) + 1 else listing(study["names"][cell] for cell in tied)


def _not_behind(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cell with the best mean, and those that it cannot be told apart from."""
    return [places[0]["cell"], *places[0]["indistinguishable_from"]]


def _gap(behind: Mapping[str, Any], key: str) -> str:
    """The size of a paired difference that is known to leave zero out."""
    shown = metric(key)
    unit = "points" if shown.unit == "%" else shown.unit
    sizes = (abs(behind["mean"]), *sorted((abs(behind["low"]), abs(behind["high"]))))
    mean, low, high = (shown.difference(size).lstrip("+") for size in sizes)
    return f"{mean} {unit} ({low} to {high})"
