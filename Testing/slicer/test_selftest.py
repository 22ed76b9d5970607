"""The module's own self-test passes on the stand as Slicer runs it: each case for itself, once the module is loaded."""

from __future__ import annotations

import sys
import unittest

import pytest
import sample_data_stand_in
from HealthiVertSlicerLib import selftest

CASES = sorted(name for name in dir(selftest.HealthiVertSlicerTest) if name.startswith("test_"))


@pytest.fixture
def self_test(panel_stand, monkeypatch):
    """The class that Slicer finds under <name of the module>Test."""
    sample_data_stand_in.install(monkeypatch)
    panel_stand()
    return sys.modules["HealthiVertSlicer"].HealthiVertSlicerTest


def run(case: unittest.TestCase) -> unittest.TestResult:
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1 and not result.skipped
    return result


def troubles(result: unittest.TestResult) -> str:
    return "\n".join(text for _, text in result.errors + result.failures)


@pytest.mark.parametrize("name", CASES)
def test_each_case_passes_by_itself(name, self_test):
    assert troubles(run(self_test(name))) == ""


def test_slicers_ctest_and_its_test_button_find_the_same_cases(self_test):
    by_ctest = unittest.TestLoader().getTestCaseNames(self_test)
    by_button = [name for name in dir(self_test) if "test" in name and callable(getattr(self_test, name))]
    assert by_ctest == by_button == CASES and len(CASES) >= 7


def test_ctest_loads_the_class_from_the_modules_own_file(self_test):
    suite = unittest.TestLoader().loadTestsFromName("HealthiVertSlicer")
    found = {type(case).__name__ for part in suite for case in part}
    assert "HealthiVertSlicerTest" in found


@pytest.mark.parametrize(
    "name", [name for name in CASES if "process" in name or "cancelled" in name or "panel" in name]
)
def test_where_packages_are_missing_the_case_checks_that_the_user_is_told(name, self_test, monkeypatch):
    from HealthiVertSlicerLib import dependencies

    monkeypatch.setattr(dependencies, "missing_requirements", lambda: ["torch>=2.2"])
    monkeypatch.setattr(dependencies, "install_requirements", lambda parent=None: False)
    assert troubles(run(self_test(name))) == ""


def test_a_wrong_loss_fails_the_case_that_documents_it(self_test):
    case = self_test("test_process_finds_the_documented_loss_and_honours_the_parent_transform")

    report = {
        "vertebra": selftest.FRACTURED,
        "rhlv": dict(selftest.PHANTOM_LOSS),
        "heights_mm": {"original": dict(selftest.PHANTOM_HEIGHTS_MM)},
        "genant": dict(selftest.PHANTOM_GRADE),
    }
    case._check_report(report)
    report["rhlv"]["mean"] -= 2 * selftest.LOSS_TOLERANCE
    with pytest.raises(AssertionError, match="mean"):
        case._check_report(report)
