"""Work in pieces: what Slicer's user may do between two of them, and what is left when it is not finished."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import slicer
from HealthiVertSlicerLib import frames, inputs, results
from HealthiVertSlicerLib.jobs import Job
from HealthiVertSlicerLib.pieces import InThread, at_once
from result_reading import start_of
from scene_state import scene_content


def test_the_result_of_a_thread_comes_back_to_the_work():
    def work():
        yield None
        number = yield InThread(lambda: 6)
        thread = yield InThread(threading.current_thread)
        return number * 7, thread

    number, thread = at_once(work())
    assert number == 42 and thread is not threading.main_thread()


def test_an_error_in_a_thread_is_raised_where_the_work_waits_for_it():
    def work():
        try:
            yield InThread(lambda: 1 / 0)
        except ZeroDivisionError:
            return "mended"

    assert at_once(work()) == "mended"
    with pytest.raises(ZeroDivisionError):
        InThread(lambda: 1 / 0).result()


def test_a_job_does_one_piece_at_a_time_and_cancels_between_two(scene):
    done = []

    def steps():
        for number in range(3):
            done.append(number)
            yield None

    job = Job(steps())
    assert done == [0]
    job.poll()
    assert done == [0, 1]
    told = []
    job.on_error = told.append
    job.cancel()
    job.poll()
    assert done == [0, 1] and job.status == "cancelled" and told == ["Cancelled: nothing was changed."]


def test_a_job_does_not_wait_for_a_thread(scene):
    release = threading.Event()

    def steps():
        return (yield InThread(release.wait))

    job = Job(steps())
    for _ in range(3):
        job.poll()
    assert job.running
    release.set()
    assert job.wait() is True


@pytest.fixture
def loading(phantom_nodes, finished_run):
    """The job of loading a finished run, with some of its nodes made."""
    before = scene_content()
    node_ids = [node.GetID() for node in phantom_nodes]
    job = Job(results.loading(finished_run, *phantom_nodes, "L1", start_of(phantom_nodes)), node_ids)
    while len(scene_content()) < len(before) + 4:
        job.poll()
        assert job.running
    return job, before


def test_cancelling_while_results_are_loaded_leaves_them_whole(loading, phantom_nodes):
    job, _before = loading
    job.cancel()
    assert job.wait().report == results.find_results(phantom_nodes.volume, "L1").report


def test_deleting_the_ct_while_results_are_loaded_takes_them_back(loading, phantom_nodes):
    job, before = loading
    slicer.mrmlScene.RemoveNode(phantom_nodes.volume)
    job.poll()
    assert job.status == "failed" and "deleted" in job.message
    assert set(scene_content()) < set(before)


def test_closing_the_scene_while_results_are_loaded_leaves_an_empty_one(loading):
    job, _before = loading
    slicer.mrmlScene.Clear()
    emptied = scene_content()
    job.poll()
    assert job.status == "failed" and "scene was closed" in job.message
    assert scene_content() == emptied


def test_a_large_scan_is_copied_slab_by_slab(phantom_nodes, monkeypatch):
    segment_ids = phantom_nodes.segmentation.GetSegmentation().GetSegmentIDs()
    whole = at_once(inputs.labels_in_pieces(*phantom_nodes, segment_ids))
    monkeypatch.setattr(frames, "SLAB_VOXELS", 20_000)
    assert len(list(inputs.labels_in_pieces(*phantom_nodes, segment_ids))) > 10
    assert np.array_equal(at_once(inputs.labels_in_pieces(*phantom_nodes, segment_ids)), whole) and whole.any()
