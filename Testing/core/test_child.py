"""healthivert.child: the command as the child of another program, and what only a parent needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from command_line_case import write_spine

from healthivert import child
from healthivert.parent_watch import ParentWatch
from healthivert.progress import SIGNALS


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """T12 to L5, L1 wedged, 2 mm."""
    return write_spine(tmp_path_factory.mktemp("scan"))


@pytest.fixture(autouse=True)
def _signal_handlers_as_before():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def call(*words: object) -> int:
    return child.main(["--parent", str(os.getpid()), *map(str, words)])


def test_the_spine_is_measured_with_progress_and_an_answer_in_the_last_line(scan, capsys) -> None:
    assert call("spine", *scan) == 0
    *steps, answer = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [step["stage"] for step in steps][-1] == "done"
    assert [row["level"] for row in answer["levels"]] == ["T12", "L1", "L2", "L3", "L4", "L5"]
    suspicion = {row["level"]: row["suspicion"] for row in answer["levels"]}
    assert max(suspicion, key=suspicion.__getitem__) == "L1"


def test_a_level_map_renames_what_the_segmentation_says(scan, capsys) -> None:
    labels = ",".join(f"{number}=T{number - 12}" for number in range(19, 25))
    assert call("spine", *scan, "--level-map", labels) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["level"] for row in answer["levels"]] == ["T7", "T8", "T9", "T10", "T11", "T12"]


def test_the_conditioning_hides_the_target_and_believes_its_neighbours(scan, tmp_path: Path) -> None:
    assert call("conditioning", *scan, "--vertebra", "L3", "--out", tmp_path / "out") == 0
    folder = tmp_path / "out" / "conditioning"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["conditioning"], "nothing is generated"
    mask, attention = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("mask", "cam"))
    labels = sitk.Resample(sitk.ReadImage(str(scan[1])), mask, sitk.Transform(), sitk.sitkNearestNeighbor)
    hidden, seen, label = (sitk.GetArrayFromImage(image) for image in (mask, attention, labels))
    assert hidden[label == 22].all(), "all of L3 is hidden"
    assert not seen[hidden > 0].any()
    assert seen[(label == 21) & (hidden == 0)].mean() > 0.8


def test_bad_input_is_one_line_and_exit_status_2(scan, tmp_path: Path, capsys) -> None:
    assert call("spine", tmp_path / "none.nii.gz", scan[1]) == 2
    error = capsys.readouterr().err
    assert error.startswith("healthivert: ")
    assert error.count("\n") == 1
    assert "there is no such file" in error


def test_the_devices_of_torch_are_named_and_the_processor_is_one(capsys) -> None:
    assert call("devices") == 0
    found = json.loads(capsys.readouterr().out)
    assert found[-1]["device"] == "cpu"
    assert all(device["name"] for device in found)


def test_any_other_command_is_the_healthivert_command(scan, capsys) -> None:
    assert call("inspect", *scan, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["levels"]) == 6


def test_nothing_happens_while_the_parent_lives(tmp_path: Path) -> None:
    with ParentWatch(os.getpid(), tmp_path, look_every_s=0.01):
        time.sleep(0.1)
    assert tmp_path.exists()


@pytest.mark.parametrize("deaf", [False, True], ids=["a command that unwinds", "a command that hears no signal"])
def test_the_end_of_the_parent_ends_the_command_and_removes_its_folder(deaf: bool, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from healthivert.parent_watch import ParentWatch\n"
        "from healthivert.progress import ignore_signals, install_cancellation\n"
        f"{'ignore_signals' if deaf else 'install_cancellation'}()\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "with ParentWatch(int(sys.argv[1]), Path(sys.argv[2]), 0.05):\n"
        "    print(grandchild.pid, flush=True)\n"
        "    while True: time.sleep(0.05)\n"
    )
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        words = [sys.executable, "-c", code, str(parent.pid), str(folder)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        parent.kill()
    assert process.wait(5) != 0
    process.stdout.close()
    assert not folder.exists()
    end = time.monotonic() + 6
    while _is_running(grandchild):
        assert time.monotonic() < end, "what the command had started is still there"
        time.sleep(0.02)


def _is_running(process: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(told) and not told.startswith("Z")
