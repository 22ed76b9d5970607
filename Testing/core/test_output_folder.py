"""Results are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from healthivert.errors import HealthiVertError
from healthivert.output_folder import OutputFolder


def contents(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def write_results(folder: Path, words: str = "new") -> None:
    (folder / "report.json").write_text(words)
    (folder / "figures").mkdir()
    (folder / "figures" / "a.png").write_text(words)


def dead_process() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_nothing_is_seen_before_the_end_and_everything_after(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with OutputFolder(out) as folder:
        write_results(folder)
        assert folder.name.startswith(".out.partial-")
        assert not out.exists()
    assert contents(out) == {"report.json", "figures"}
    assert contents(out.parent) == {"out"}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, HealthiVertError])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), OutputFolder(tmp_path / "deep" / "out") as folder:
        write_results(folder)
        raise failure("stopped")
    assert contents(tmp_path) == set()


def test_a_failure_keeps_earlier_results(tmp_path: Path) -> None:
    write_results_into(tmp_path / "out", "old")
    with pytest.raises(ValueError), OutputFolder(tmp_path / "out", force=True) as folder:
        write_results(folder)
        raise ValueError
    assert (tmp_path / "out" / "report.json").read_text() == "old"
    assert contents(tmp_path) == {"out"}


def write_results_into(out: Path, words: str) -> None:
    with OutputFolder(out) as folder:
        write_results(folder, words)


def test_earlier_results_are_replaced_only_with_force(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_results_into(out, "old")
    (out / "notes.txt").write_text("the user's own")
    with pytest.raises(HealthiVertError, match="--force"), OutputFolder(out):
        pytest.fail("the work must not begin")
    with OutputFolder(out, force=True) as folder:
        write_results(folder, "new")
    assert (out / "figures" / "a.png").read_text() == "new"
    assert contents(out) == {"report.json", "figures", "notes.txt"}
    assert contents(tmp_path) == {"out"}


def test_results_that_the_new_ones_lack_do_not_stay_beside_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with OutputFolder(out) as folder:
        write_results(folder, "of several samples")
        (folder / "uncertainty.nii.gz").write_text("of several samples")
    with OutputFolder(out, force=True) as folder:
        write_results(folder, "of one sample")
    assert contents(out) == {"report.json", "figures"}
    assert contents(tmp_path) == {"out"}


def test_a_move_that_fails_halfway_brings_the_earlier_results_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_results_into(out, "old")
    moves = []

    def replace(source: Path, target: Path, move=os.replace) -> None:
        moves.append(source)
        if len(moves) == 4:
            raise KeyboardInterrupt
        move(source, target)

    with pytest.raises(KeyboardInterrupt), OutputFolder(out, force=True) as folder:
        write_results(folder, "new")
        monkeypatch.setattr(os, "replace", replace)
    assert (out / "report.json").read_text() == "old"
    assert (out / "figures" / "a.png").read_text() == "old"
    assert contents(tmp_path) == {"out"}


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(HealthiVertError, match="is a file"), OutputFolder(out):
            pytest.fail("the work must not begin")
    assert (tmp_path / "out").read_text() == "in the way"


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *ways: False)  # root may write anywhere
    with pytest.raises(HealthiVertError, match="cannot be written"), OutputFolder(tmp_path / "out"):
        pytest.fail("the work must not begin")
    assert contents(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_a_clear_line() -> None:
    with pytest.raises(HealthiVertError, match="choose another --out"), OutputFolder(Path("/proc/nowhere/out")):
        pytest.fail("the work must not begin")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(HealthiVertError, match="disk is full") as caught, OutputFolder(tmp_path / "out") as folder:
        write_results(folder)
        with open("/dev/full", "w") as full:
            full.write("x")
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == set()


def test_a_disk_that_is_full_at_the_last_move_is_a_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*ways: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(HealthiVertError, match="disk is full"), OutputFolder(tmp_path / "out") as folder:
        write_results(folder)
        monkeypatch.setattr(os, "replace", full)
    assert contents(tmp_path) == set()


def test_other_errors_of_the_work_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), OutputFolder(tmp_path / "out"):
        open(tmp_path / "absent").close()


def test_what_killed_processes_left_is_removed_and_what_running_ones_have_is_not(tmp_path: Path) -> None:
    stale, running = tmp_path / f".out.partial-{dead_process()}", tmp_path / f".out.partial-{os.getppid()}"
    other = tmp_path / f".other.partial-{dead_process()}"
    for folder in (stale, running, other):
        folder.mkdir()
    write_results_into(tmp_path / "out", "new")
    assert contents(tmp_path) == {"out", running.name, other.name}


def test_a_second_interruption_during_the_removal_still_cleans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions = [KeyboardInterrupt()]
    remove = shutil.rmtree

    def interrupted(*ways: object, **more: object) -> None:
        if interruptions:
            raise interruptions.pop()
        remove(*ways, **more)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt), OutputFolder(tmp_path / "out") as folder:
        write_results(folder)
        monkeypatch.setattr(shutil, "rmtree", interrupted)
        raise KeyboardInterrupt
    assert contents(tmp_path) == set()


def test_results_go_into_an_existing_empty_folder(tmp_path: Path) -> None:
    write_results_into(tmp_path, "new")
    assert contents(tmp_path) == {"report.json", "figures"}


def test_a_users_empty_folder_stays_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError), OutputFolder(tmp_path / "out"):
        raise ValueError
    assert contents(tmp_path) == {"out"}
