"""The report's figures as plain data: what `report/metrics.json` holds and every view of the report is drawn from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from poolbench.models import ORIGINAL
from poolbench.report.claims import judge
from poolbench.report.records import SCHEMA, Provenance, Result, Study, measured, metric
from poolbench.report.statistics import CONFIDENCE, Place, Runs, estimate, frontier, rank
from poolbench.studies import Claim

ACCURACY = "test.top1"
CONSISTENCY = "shift.consistency"
SPEED = "cost.step"
RANKED = (ACCURACY, CONSISTENCY, SPEED)
SETTING = ("model", "data", "budget")
LOOKS = ("protocol", "range", "images")
"""What makes two measurements of shifts comparable."""

Json = dict[str, Any]


def summarise(results: Sequence[Result], studies: Sequence[Study], provenance: Provenance) -> Json:
    """Every figure of the report with its n and interval, in plain JSON types.

    `cells` mirrors the sections of an evaluation: `cells[cell]["test"]["top1"]` is {n, mean, low, high}. `studies`
    holds, for each ranked metric, the places from best to worst; a study's cell without runs is listed as missing.
    `cells[cell]["values"]` has the runs behind them, in the order of `seeds`. Raises ValueError on two results for one
    run, on a study whose cells were measured in different ways, and on one whose cells lack the metric it ranks by.
    """
    by_cell = group(results)
    return {
        "schema": SCHEMA,
        "confidence": CONFIDENCE,
        "studies": {study.name: _study(study, by_cell) for study in studies},
        "cells": {cell: _cell(runs, provenance.repeat.get(cell, "")) for cell, runs in by_cell.items()},
        "environment": dict(provenance.environment),
        "trained": _trained(results),
        "data": {run.metrics["data"]["name"]: run.metrics["data"]["checksum"] for run in results},
        "commands": list(provenance.commands),
        "lock": provenance.lock,
    }


def estimated(summary: Json, cell: str, key: str) -> Json | None:
    """A cell's estimate of the metric at `key`, None where it was not measured."""
    section, name = key.split(".")
    found: Json | None = summary["cells"][cell].get(section, {}).get(name)
    return found


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

    A label that says no more than that something is as published is no name:

    >>> short_names({"net-2x2": {"pool": "max"}, "net-3x3": {"pool": "original"}})
    {'net-2x2': '2x2', 'net-3x3': '3x3'}
    """
    for parts in (labels, {cell: dict(enumerate(cell.split("-"))) for cell in labels}):
        names = _varying(parts)
        vague = any(ORIGINAL in name.split(" / ") for name in names.values()) and parts is labels
        if all(names.values()) and len(set(names.values())) == len(names) and not vague:
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
    values = {each.key: [run.value(each.key) for run in runs] for each in measured(runs)}
    for key, found in values.items():
        section, name = key.split(".")
        summary.setdefault(section, {})[name] = asdict(estimate(found))
    return summary | {"values": values}


def _study(study: Study, by_cell: Mapping[str, Sequence[Result]]) -> Json:
    present = {cell: by_cell[cell] for cell in study.cells if cell in by_cell}
    _check_comparable(study, present)

    def runs(key: str) -> dict[str, Runs]:
        return {cell: {run.seed: run.value(key) for run in results} for cell, results in present.items()}

    everywhere = {each.key for each in measured([run for results in present.values() for run in results])}
    ranked = [key for key in dict.fromkeys((study.metric, *RANKED)) if key == study.metric or key in everywhere]
    rankings = {key: rank(runs(key), metric(key).higher_is_better, metric(key).timed) for key in ranked}
    points = {
        cell: tuple(_upward(key, next(place for place in rankings[key] if place.cell == cell)) for key in ranked)
        for cell in present
    }
    return {
        "question": study.question,
        "factor": study.factor,
        "setting": _setting([results[0].labels for results in present.values()]),
        "names": short_names({cell: results[0].labels for cell, results in present.items()}),
        "missing": [cell for cell in study.cells if cell not in by_cell],
        "ranked": ranked,
        "rankings": {key: [_place(place) for place in places] for key, places in rankings.items()},
        "claims": [_claim(claim, runs(claim.metric)) for claim in study.claims],
        "frontier": frontier(points),
    }


def _upward(key: str, place: Place) -> float:
    """A mean, turned so that more is better."""
    return place.estimate.mean if metric(key).higher_is_better else -place.estimate.mean


def _setting(labels: Sequence[Mapping[str, str]]) -> str:
    """The network, data and budget that the cells of a study share, or each that occurs."""
    chosen = {key: list(dict.fromkeys(each[key] for each in labels if key in each)) for key in SETTING}
    return ", ".join(f"{key} {' or '.join(found)}" for key, found in chosen.items() if found)


def _trained(results: Sequence[Result]) -> Json:
    """What the runs recorded of where they trained: each setting with its values, and how many runs have each."""
    found: Json = {}
    for run in results:
        for key, value in flat(run.metrics["environment"]):
            values = found.setdefault(key, {})
            values[value] = values.get(value, 0) + 1
    return found


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines of a table, keys joined by dots.

    >>> flat({"a": {"b": 1}, "c": None})
    [('a.b', '1'), ('c', 'None')]
    """
    lines: list[tuple[str, str]] = []
    for key, value in settings.items():
        lines += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, str(value))]
    return lines


def _claim(claim: Claim, runs: Mapping[str, Runs]) -> Json:
    finding = judge(claim, runs, metric(claim.metric).higher_is_better)
    return asdict(claim) | asdict(finding)


def _check_comparable(study: Study, present: Mapping[str, Sequence[Result]]) -> None:
    ways = {
        (run.metrics["test"].get("images"), *(run.metrics.get("shift", {}).get(key) for key in LOOKS))
        for runs in present.values()
        for run in runs
    }
    if len(ways) > 1:
        found = "; ".join(", ".join(map(str, each)) for each in sorted(ways, key=str))
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
