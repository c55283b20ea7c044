"""The report's figures as plain data: what `report/metrics.json` holds and every view of the report is drawn from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from poolbench.report.claims import judge
from poolbench.report.records import SCHEMA, Provenance, Result, Study, measured, metric
from poolbench.report.statistics import CONFIDENCE, Place, Runs, estimate, frontier, rank
from poolbench.studies import Claim

ACCURACY = "test.top1"
CONSISTENCY = "shift.consistency"
SPEED = "cost.step_ms"
RANKED = (ACCURACY, CONSISTENCY, SPEED)

Json = dict[str, Any]


def summarise(results: Sequence[Result], studies: Sequence[Study], provenance: Provenance) -> Json:
    """Every figure of the report with its n and interval, in plain JSON types.

    `cells` mirrors the sections of an evaluation: `cells[cell]["test"]["top1"]` is {n, mean, low, high}. `studies`
    holds, for each ranked metric, the places from best to worst; a study's cell without runs is listed as missing.
    Raises ValueError on two results for one run, and on a study whose cells were measured in different ways.
    """
    by_cell = group(results)
    return {
        "schema": SCHEMA,
        "confidence": CONFIDENCE,
        "studies": {study.name: _study(study, by_cell) for study in studies},
        "cells": {cell: _cell(runs, provenance.repeat.get(cell, "")) for cell, runs in by_cell.items()},
        "environment": dict(provenance.environment),
        "commands": list(provenance.commands),
    }


def group(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The runs of each cell by rising seed, cells in order of appearance. Raises ValueError on two of one seed."""
    by_cell: dict[str, dict[int, Result]] = {}
    for result in results:
        runs = by_cell.setdefault(result.cell, {})
        if result.seed in runs:
            raise ValueError(f"{result.cell}, seed {result.seed} is given twice: name each run once")
        runs[result.seed] = result
    return {cell: [runs[seed] for seed in sorted(runs)] for cell, runs in by_cell.items()}


def short_names(labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Each cell by the labels that tell it from the others; where those do not suffice, by the parts of its name.

    >>> short_names({"a": {"data": "mnist", "pool": "max"}, "b": {"data": "mnist", "pool": "average"}})
    {'a': 'max', 'b': 'average'}
    >>> short_names({"mnist-max-gap": {"pool": "max"}, "mnist-max_augmented-gap": {"pool": "max"}})
    {'mnist-max-gap': 'max', 'mnist-max_augmented-gap': 'max_augmented'}
    """
    for parts in (labels, {cell: dict(enumerate(cell.split("-"))) for cell in labels}):
        names = _varying(parts)
        if all(names.values()) and len(set(names.values())) == len(names):
            return names
    return {cell: cell for cell in labels}


def _varying(parts: Mapping[str, Mapping[Any, str]]) -> dict[str, str]:
    """Of each cell, the parts that some other cell has otherwise."""
    varying = {
        key
        for chosen in parts.values()
        for key in chosen
        if any(other.get(key) != chosen[key] for other in parts.values())
    }
    return {
        cell: " / ".join(value for key, value in chosen.items() if key in varying) for cell, chosen in parts.items()
    }


def _cell(runs: Sequence[Result], command: str) -> Json:
    summary: Json = {"labels": dict(runs[0].labels), "seeds": [run.seed for run in runs], "command": command}
    for each in measured(runs):
        section, name = each.key.split(".")
        summary.setdefault(section, {})[name] = asdict(estimate([run.value(each.key) for run in runs]))
    return summary


def _study(study: Study, by_cell: Mapping[str, Sequence[Result]]) -> Json:
    present = {cell: by_cell[cell] for cell in study.cells if cell in by_cell}
    _check_comparable(study, present)

    def runs(key: str) -> dict[str, Runs]:
        return {cell: {run.seed: run.value(key) for run in results} for cell, results in present.items()}

    rankings = {key: rank(runs(key), metric(key).higher_is_better) for key in RANKED}
    means = {key: {place.cell: place.estimate.mean for place in places} for key, places in rankings.items()}
    return {
        "question": study.question,
        "factor": study.factor,
        "names": short_names({cell: results[0].labels for cell, results in present.items()}),
        "missing": [cell for cell in study.cells if cell not in by_cell],
        "rankings": {key: [_place(place) for place in places] for key, places in rankings.items()},
        "claims": [_claim(claim, runs(claim.metric)) for claim in study.claims],
        "frontier": frontier({cell: (means[ACCURACY][cell], means[CONSISTENCY][cell]) for cell in present}),
    }


def _claim(claim: Claim, runs: Mapping[str, Runs]) -> Json:
    finding = judge(claim, runs, metric(claim.metric).higher_is_better)
    return asdict(claim) | asdict(finding)


def _check_comparable(study: Study, present: Mapping[str, Sequence[Result]]) -> None:
    measured = {
        (run.metrics["test"]["images"], *(run.metrics["shift"][key] for key in ("protocol", "range", "images")))
        for runs in present.values()
        for run in runs
    }
    if len(measured) > 1:
        found = "; ".join(", ".join(map(str, each)) for each in sorted(measured, key=str))
        raise ValueError(
            f"study {study.name} mixes evaluations (test images, shift protocol, range, images: {found}): "
            "evaluate all its cells alike"
        )


def _place(place: Place) -> Json:
    return {
        "cell": place.cell,
        **asdict(place.estimate),
        "behind": asdict(place.behind) if place.behind else None,
        "first": place.first,
        "last": place.last,
        "indistinguishable_from": list(place.indistinguishable_from),
    }
