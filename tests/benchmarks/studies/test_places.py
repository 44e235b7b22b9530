"""What is counted as CPU of a study: that of all processes of either side."""

import os
import subprocess
import sys
import threading

import pytest

pytest.importorskip("ray")
places = pytest.importorskip("benchmarks.studies.places")

BUSY = "import time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True)\ninput()"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cpu_of_children_counts_when_they_have_ended_and_if_asked_while_they_live():
    before = {living: places.cpu_seconds(os.getpid(), living) for living in (False, True)}
    found = []

    def start():  # whichever thread began it
        found.append(
            subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        found[0].stdout.readline()
        for living in (False, True):
            spent = places.cpu_seconds(os.getpid(), living) - before[living]
            assert (spent > 0.35) == living

    errors = []
    thread = threading.Thread(target=lambda: _noted(start, errors))
    thread.start()
    thread.join()
    found[0].communicate(b"\n")
    assert errors == []
    assert places.cpu_seconds(os.getpid(), False) - before[False] > 0.35


def _noted(action, errors):
    try:
        action()
    except AssertionError as error:
        errors.append(error)
