"""Runs as tasks of a real Ray cluster of several nodes, one of which is killed."""

import dataclasses
import os
import signal

import pytest

from expedition import UserError
from experiments.launchers.launcher import Launcher
from experiments.launchers.places.base import JobFile
from experiments.launchers.places.ray_cluster import RayCluster, RayOptions
from experiments.launchers.worker import Job, Task
from experiments.studies.presets import find_study
from tests.experiments.launchers.alike import QUIET, descendants, finished, finished_of, lines, wait_for
from training import read_config

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes on this machine: a head without room for runs, and two with room for one each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    it = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 2**27})
    for _ in range(2):
        it.add_node(num_cpus=1, object_store_memory=2**27)
    yield it
    ray.shutdown()
    it.shutdown()


def test_a_lost_node_s_run_goes_on_elsewhere_and_ends_as_if_nothing_had_been(
    cluster, studied, study_file, tmp_path, pretrained
):
    config = read_config(pretrained)
    often = dataclasses.replace(config.training, checkpoint_seconds=0.2, train_ratio=1.0)
    config = dataclasses.replace(config, steps=800, training=often)
    place = RayCluster(RayOptions(cluster.address), tmp_path, 2)
    folders = [tmp_path / "one", tmp_path / "other"]
    files = [JobFile(folder.with_suffix(".json"), folder.with_suffix(".txt")) for folder in folders]
    for folder, file in zip(folders, files, strict=True):
        Job((Task(str(folder), config),), QUIET).save(file.job)
    works = place.begin(files)
    wait_for(lambda: all(list(folder.glob("checkpoint-*")) for folder in folders))
    raylet = cluster.list_all_nodes()[1].all_processes["raylet"][0].process.pid
    for process in (raylet, *descendants(raylet)):  # a machine that is lost takes all of them
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: all(work.poll() is not None for work in works), 180)
    assert [work.poll() for work in works] == [0, 0]
    assert ["Going on from step" in file.log.read_text() for file in files].count(True) == 1
    assert lines(folders[0]) == lines(folders[1])

    study = find_study(str(study_file(name="catch", conditions=["model"])), None, {"seeds": 1})
    out, address = tmp_path / "out", f"ray,address={cluster.address}"
    place.close()
    assert Launcher(study, out, 2, QUIET, "expedition study x", str, place=address).run() == 0
    assert finished(out).items() <= finished_of(0, studied[0]).items()
    assert len(finished(out)) == 3


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(
        UserError, match=r"No Ray cluster answers at '127.0.0.1:9': begin one with `ray start"
    ):
        RayCluster(RayOptions("127.0.0.1:9"), tmp_path, 1)
