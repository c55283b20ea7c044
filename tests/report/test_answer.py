"""The sentences never say more than the intervals hold."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from poolbench.report.answer import answer, listing
from poolbench.report.records import Provenance, Result, Study
from poolbench.report.summary import summarise
from poolbench.studies import Claim

Evaluate = Callable[..., dict[str, Any]]
Answer = Callable[[Mapping[str, list[tuple[float, float]]]], dict[str, str]]


@pytest.fixture
def answers(evaluation: Evaluate) -> Answer:
    """Answers a study of cells given as (accuracy, consistency) for each seed."""

    def ask(cells: Mapping[str, list[tuple[float, float]]]) -> dict[str, str]:
        results = [
            Result(cell, seed, {"pool": cell}, evaluation(top1, consistency))
            for cell, runs in cells.items()
            for seed, (top1, consistency) in enumerate(runs)
        ]
        study = Study("pool", "Which?", "pool", list(cells))
        return answer(summarise(results, [study], Provenance({}, []))["studies"]["pool"])

    return ask


A = [(0.90, 0.80), (0.91, 0.81), (0.89, 0.80)]
BELOW_A = [(0.85, 0.70), (0.861, 0.712), (0.842, 0.70)]
LIKE_A = [(0.905, 0.79), (0.90, 0.82), (0.897, 0.80)]
STEADY = [(0.80, 0.95), (0.811, 0.96), (0.789, 0.951)]


def test_a_clear_leader_is_said_to_lead_by_its_interval(answers: Answer) -> None:
    said = answers({"b": BELOW_A, "a": A})
    assert said["Accuracy"].startswith(
        "a has the highest top-1 accuracy, 90.0\N{NO-BREAK SPACE}% (87.5 to 92.5, n = 3), ahead of b"
    )
    # the differences are 0.050, 0.049, 0.048: mean 4.90, margin 4.3027 * 0.1 / sqrt(3) = 0.25
    assert said["Accuracy"].endswith("by 4.90 points (4.65 to 5.15).")
    assert said["Together"] == "In accuracy, consistency and speed at once, a is not measurably behind the best."


def test_a_tie_is_said_to_be_one(answers: Answer) -> None:
    said = answers({"a": A, "like": LIKE_A, "b": BELOW_A})
    assert said["Accuracy"].startswith("like has the highest top-1 accuracy")
    assert said["Accuracy"].endswith("but cannot be told apart from a.")
    assert "ahead" not in said["Accuracy"]
    assert said["Together"].startswith("In accuracy, consistency and speed at once, like and a are")


def test_a_tie_with_all_is_short(answers: Answer) -> None:
    said = answers({"a": A, "like": LIKE_A, "same": A})
    assert said["Accuracy"].endswith("but cannot be told apart from any other.")


def test_a_tradeoff_names_who_holds_two(answers: Answer) -> None:
    said = answers({"a": A, "steady": STEADY})
    assert said["Together"] == (
        "No variant is among the best in accuracy, consistency and speed at once. "
        "Among the best in two: a in accuracy and speed; steady in consistency and speed."
    )


def test_many_ties_are_counted_not_listed(answers: Answer) -> None:
    said = answers({f"v{place}": A for place in range(9)} | {"b": BELOW_A})
    assert said["Accuracy"].endswith("but cannot be told apart from v1, v2, v3, v4, v5, v6 and 2 others.")


def test_single_runs_claim_nothing(answers: Answer) -> None:
    said = answers({"a": A[:1], "b": BELOW_A[:1]})
    assert "Together" not in said
    assert all("in a single run: without more seeds" in said[topic] for topic in ("Accuracy", "Consistency", "Speed"))


def test_equal_speed_is_not_ranked(answers: Answer) -> None:
    assert "cannot be told apart from" in answers({"a": A, "b": BELOW_A})["Speed"]


def test_one_cell_is_not_compared(answers: Answer) -> None:
    assert list(answers({"a": A}).values()) == ["Only a has been evaluated, so there is nothing to compare."]


def test_missing_cells_are_named() -> None:
    study = Study("pool", "Which?", "pool", ["a", "b"])
    summary = summarise([], [study], Provenance({}, []))
    assert answer(summary["studies"]["pool"]) == {"Missing": "Not evaluated, so not ranked: a and b."}


def test_verdicts_are_counted(evaluation: Evaluate) -> None:
    claims = [Claim("a beats b", "x", "1", "a", "b"), Claim("b beats a", "x", "2", "b", "a")]
    results = [
        Result(cell, seed, {"pool": cell}, evaluation(top1, consistency))
        for cell, runs in {"a": A, "b": BELOW_A}.items()
        for seed, (top1, consistency) in enumerate(runs)
    ]
    said = {
        count: answer(
            summarise(results, [Study("s", "?", "pool", ["a", "b"], claims[:count])], Provenance({}, []))["studies"][
                "s"
            ]
        )
        for count in (1, 2)
    }
    assert said[1]["Claims"] == "The published claim is reproduced: a beats b."
    assert said[2]["Claims"] == "Of 2 published claims, 1 is reproduced and 1 contradicted."


def test_listing() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b"]) == "a and b"
