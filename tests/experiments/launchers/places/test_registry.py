"""Places by name, with options; and this machine's cores shared out."""

import pytest

from expedition import UserError
from experiments.launchers.places import local
from experiments.launchers.places.local import Local
from experiments.launchers.places.ray_cluster import RayOptions
from experiments.launchers.places.registry import make_place, parse_options
from experiments.launchers.places.slurm import Slurm, SlurmOptions, _asked_for


def place(wish, folder, jobs=0, threads=0):
    return make_place(wish, folder, jobs, threads, 2, 9, False)


@pytest.mark.parametrize(
    ("jobs", "threads", "on_gpu", "expected"),
    [
        (0, 0, False, (8, {"pretrain": 4, "finetune": 1})),
        (4, 0, False, (4, {"pretrain": 4, "finetune": 2})),
        (4, 3, False, (4, {"pretrain": 3, "finetune": 3})),
        (0, 0, True, (1, {"pretrain": 4, "finetune": 8})),
    ],
)
def test_cores_are_shared_out(monkeypatch, jobs, threads, on_gpu, expected):
    monkeypatch.setattr(local, "cores", lambda: 8)
    it = Local(jobs, threads, exploring=2, processes=9, on_gpu=on_gpu)
    assert (it.jobs, it.threads) == expected


def test_options_are_read_by_their_type():
    assert parse_options("ray", "address=head:6379,cpus=2,gpus=0.5", RayOptions) == RayOptions(
        "head:6379", 2, 0.5
    )
    assert parse_options("slurm", "partition=gpu,minutes=90", SlurmOptions).minutes == 90
    assert parse_options("ray", "", RayOptions) == RayOptions()


def test_slurm_is_asked_for_what_was_named():
    asked = _asked_for(SlurmOptions(partition="gpu", gpus=1, memory=16, minutes=90), cpus=4)
    assert asked == {
        "name": "expedition",
        "timeout_min": 90,
        "cpus_per_task": 4,
        "gpus_per_node": 1,
        "mem_gb": 16,
        "slurm_partition": "gpu",
    }


def test_threads_are_the_cores_that_a_cluster_is_asked_for(tmp_path):
    pytest.importorskip("submitit")
    assert place("slurm,cluster=local", tmp_path, threads=3).threads["finetune"] == 3
    assert place("slurm,cluster=local,cpus=2", tmp_path, threads=3).threads["finetune"] == 2
    assert place("slurm,cluster=local", tmp_path).jobs == 9
    assert place("slurm,cluster=local", tmp_path, jobs=4).jobs == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ("slrum", "Unknown launcher 'slrum': did you mean slurm"),
        ("local,cpus=2", "'local' has no options: use --jobs"),
        ("slurm,partion=gpu", "Unknown option of the launcher slurm 'partion': did you mean partition"),
        ("slurm,minutes=long", "option 'minutes' is a number, not 'long'"),
        ("ray,gpus=-1", "option 'gpus' cannot be '-1'"),
        ("ray,address", "option 'address' cannot be ''"),
        ("slurm,cluster=pbs", "'cluster' is slurm or local, not 'pbs'"),
    ],
)
def test_a_mistyped_place_is_one_sentence(tmp_path, wish, sentence):
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match=sentence):
        place(wish, tmp_path)


def test_without_slurm_or_its_package_it_is_said_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no `srun`.*--launcher local"):
        Slurm(SlurmOptions(), tmp_path, 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for wish, package in (("slurm", "submitit"), ("ray", "Ray")):
        with pytest.raises(
            UserError, match=rf"{package} is not installed: `pip install 'expedition\[{wish}\]"
        ):
            place(wish, tmp_path)
