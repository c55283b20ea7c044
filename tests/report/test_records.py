"""What an evaluation must hold to be reported."""

from collections.abc import Callable

import pytest

from poolbench.report.records import Result, measured, metric

Evaluate = Callable[..., dict[str, dict[str, float]]]


def test_every_metric_is_read_from_its_section(evaluation: Evaluate) -> None:
    metrics = evaluation(top1=0.9)
    run = Result("max", 0, {}, metrics)
    assert len(measured([run])) > 20
    for each in measured([run]):
        section, name = each.key.split(".")
        assert run.value(each.key) == metrics[section][name]


def test_an_older_schema_is_refused_by_name(evaluation: Evaluate) -> None:
    with pytest.raises(ValueError, match=r"^evaluation of max, seed 4 has schema 0, .* 5: evaluate it again$"):
        Result("max", 4, {}, {**evaluation(), "schema": 0})


def test_a_missing_metric_is_named(evaluation: Evaluate) -> None:
    metrics = evaluation()
    del metrics["shift"]["logit_drift"]
    run = Result("max", 4, {}, metrics)
    assert not run.has("shift.logit_drift")
    with pytest.raises(ValueError, match=r"^evaluation of max, seed 4 has no shift.logit_drift: evaluate it again$"):
        run.value("shift.logit_drift")


def test_numbers_read_in_their_units() -> None:
    assert metric("test.top1").quantity(0.8849) == "88.5\N{NO-BREAK SPACE}%"
    assert metric("cost.bytes_saved").quantity(21_500) == "21.5\N{NO-BREAK SPACE}kB"
    assert metric("cost.parameters").quantity(1_234_567) == "1,234,567"
    assert metric("test.top1").heading == "Top-1 accuracy, %"
    assert metric("test.top1").difference(0.01234) == "+1.23"


def test_an_interval_of_a_share_ends_where_shares_end() -> None:
    assert metric("test.top1").interval({"n": 2, "mean": 0.9, "low": -0.1, "high": 1.2}) == "0.0 to 100.0"
    assert metric("test.loss").interval({"n": 2, "mean": 0.9, "low": -0.1, "high": 1.2}) == "-0.100 to 1.200"


def test_an_unknown_interval_is_said() -> None:
    single = {"n": 1, "mean": 0.5, "low": None, "high": None}
    assert metric("test.top1").interval(single) == "interval unknown"
    assert metric("test.top1").difference_interval(single) == "interval unknown"
