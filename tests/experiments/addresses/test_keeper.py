"""Studies kept at an address: by one machine after another, by several at once, by one that is cut off."""

import json
import os
import signal
import threading
import uuid
from pathlib import Path

import pytest

from expedition import UserError
from experiments.addresses import keeper
from experiments.addresses.keeper import AtAddress
from experiments.addresses.leases import Leases
from experiments.addresses.runs import send, step_there
from experiments.launchers.launcher import Launcher
from experiments.launchers.worker import carry_out
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from tests.experiments.launchers.alike import QUIET, InThisProcess, finished, finished_of, lines, wait_for
from training.storage.shared import Store


class Machine:
    """One that works on a study at an address, with a cache of its own."""

    def __init__(self, name, study, address, tmp_path, monkeypatch, place=None):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        self.said = []
        self.keeper = AtAddress(address, self.said.append)
        self.launcher = Launcher(study, self.keeper, 1, QUIET, "expedition study x", self.said.append)
        self.launcher.place = self.place = place or InThisProcess()

    @property
    def folder(self):
        return self.keeper.folder

    def run(self):
        return self.launcher.run()


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    for name in ("RENEW_SECONDS", "SEND_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(keeper, name, 0.05)


@pytest.fixture
def address():
    return f"memory://{uuid.uuid4().hex}/catch"


@pytest.fixture
def study(study_file):
    """Four runs of one seed, whose results `studied` has."""
    return find_study(str(study_file(name="catch")), None, {"seeds": 1})


@pytest.fixture
def machine(study, address, tmp_path, monkeypatch):
    return lambda name, place=None: Machine(name, study, address, tmp_path, monkeypatch, place)


def names(study):
    return [run.id for run in planned_runs(study)]


def test_it_has_the_results_that_it_has_in_a_folder_and_another_machine_has_them_too(
    machine, study, studied, address
):
    one = machine("one")
    assert one.run() == 0
    one.keeper.check_sent(())
    assert finished(one.folder) == finished_of(0, studied[0])
    assert one.place.begun == names(study)
    store = Store(address)
    assert not [name for name in store.sizes() if name.startswith("leases/")]
    for run in names(study):
        assert step_there(store.sizes(run)) == step_there(
            path.relative_to(one.folder / run).as_posix() for path in (one.folder / run).rglob("*")
        )
    other = machine("other")
    assert other.folder != one.folder
    assert other.run() == 0
    assert other.place.begun == []
    assert finished(other.folder) == finished(one.folder)
    assert not list(other.folder.glob("*/*.safetensors"))  # what a report needs no more
    assert any("4 runs are done already" in line for line in other.said)


def test_a_run_begun_elsewhere_goes_on_exactly(study_file, address, tmp_path, monkeypatch):
    training = json.loads(study_file().read_text())["pretrain"] | {"train_ratio": 1.0}
    file = study_file(name="catch", pretrain_steps=400, pretrain=training, conditions=["model"])
    study = find_study(str(file), None, {"seeds": 1})
    (first, *_), here = planned_runs(study), tmp_path / "elsewhere"
    calm = tmp_path / "calm"
    carry_out(first.config, calm, QUIET, None, None, str)

    def stop():
        wait_for(lambda: '"env_step"' in _text(here / "metrics.jsonl"))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert carry_out(first.config, here, QUIET, None, None, str).exit_code == 143
    send(Store(address), first.id, here, None)
    assert 0 < step_there(Store(address).sizes(first.id)) < 400
    it = Machine("it", study, address, tmp_path, monkeypatch)
    assert it.run() == 0
    assert it.place.begun[0] == first.id
    assert lines(it.folder / first.id) == lines(calm)


def _text(path):
    return path.read_text() if path.exists() else ""


def test_phase_2_brings_the_checkpoint_that_it_carries_from(machine, study, studied, address):
    (source,) = [run for run in names(study) if run.startswith("pretrain")]
    send(Store(address), source, studied[0] / source, None)
    it = machine("it")
    assert it.run() == 0
    assert source not in it.place.begun
    assert finished(it.folder) == finished_of(0, studied[0])


class Nothing(InThisProcess):
    """Begins jobs that end when they are asked to."""

    class Work:
        code = None

        def poll(self):
            return self.code

        def stop(self):
            assert self.code is None, "it was asked twice"
            self.code = 143

        def kill(self):
            raise AssertionError("it was asked")

    def begin(self, files):
        self.begun += [file.job.stem for file in files]
        return [self.Work() for _ in files]


def test_what_another_machine_works_on_is_waited_for(machine, study, studied, address):
    store, it = Store(address), machine("it")
    theirs = Leases(store, "theirs")
    assert all(theirs.take(run) for run in names(study))

    def work():
        wait_for(lambda: "Waiting for runs that other machines work on." in it.said)
        for run in names(study):
            send(store, run, studied[0] / run, None)
            theirs.release(run)

    thread = threading.Thread(target=work)
    thread.start()
    assert it.run() == 0
    thread.join()
    assert it.place.begun == []
    assert finished(it.folder) == finished_of(0, studied[0])


def test_a_run_that_another_machine_took_over_is_left_to_it(machine, study, studied, address):
    store, place = Store(address), Nothing()
    it = machine("it", place)
    first, *rest = names(study)
    theirs = Leases(store, "theirs")

    def take_over():
        wait_for(lambda: place.begun == [first])
        store.write(f"leases/{first}/00000009.json", theirs._content())
        theirs._held[first] = 9
        assert all(theirs.take(run) for run in rest)
        wait_for(lambda: any("Another machine has taken over" in line for line in it.said))
        for run in names(study):
            send(store, run, studied[0] / run, None)
            theirs.release(run)

    thread = threading.Thread(target=take_over)
    thread.start()
    assert it.run() == 0
    thread.join()
    assert place.begun == [first]
    it.keeper.check_sent(())
    assert finished(it.folder) == finished_of(0, studied[0])


def lost(monkeypatch, when):
    """A store that does not answer while that holds."""

    def cut(real):
        def asked(it, *arguments):
            if when():
                raise UserError(f"'{it.address}' cannot be read (no route to host): check the network.")
            return real(it, *arguments)

        return asked

    for name in ("put", "write", "sizes", "read", "create", "get", "remove"):
        monkeypatch.setattr(Store, name, cut(getattr(Store, name)))


def test_an_address_that_is_lost_for_a_while_costs_nothing_and_is_told_once(
    machine, study, studied, address, monkeypatch
):
    it, away = machine("it"), threading.Event()
    carried_out = it.place.carried_out

    def amid(job):
        if not it.place.begun:
            away.set()
        return carried_out(job)

    def noticed():
        return any("no route to host" in line for line in it.said)

    it.place.carried_out = amid
    lost(monkeypatch, lambda: away.is_set() and not noticed())
    assert it.run() == 0
    it.keeper.check_sent(())
    assert finished(it.folder) == finished_of(0, studied[0])
    told = [line for line in it.said if "no route to host" in line or "answers again" in line]
    assert len(told) == 2
    assert told[0].endswith("Runs that have begun go on here, and are sent later; others wait.")
    assert set(Store(address).sizes()) >= {f"{run}/result.json" for run in names(study)}


def test_an_address_that_stays_lost_leaves_all_here_and_the_same_command_sends_it(
    machine, study, studied, address, monkeypatch
):
    away = threading.Event()
    with monkeypatch.context() as patch:
        it = machine("it")
        carried_out = it.place.carried_out

        def amid(job):
            if len(it.place.begun) == 3:  # the last one
                away.set()
            return carried_out(job)

        it.place.carried_out = amid
        lost(patch, away.is_set)
        assert it.run() == 0
        with pytest.raises(UserError, match=f"could not be sent to {address}.*the same command sends them"):
            it.keeper.check_sent(())
    again = machine("it")
    assert again.run() == 0
    again.keeper.check_sent(())
    assert again.place.begun == []
    assert set(Store(address).sizes()) >= {f"{run}/result.json" for run in names(study)}


def test_a_run_that_crashed_is_begun_again_when_what_it_did_is_sent(machine, study, studied, address):
    it, tried = machine("it"), []
    carried_out = it.place.carried_out

    def crashes_once(job):
        tried.append(Path(job.tasks[0].run_dir).name)
        return 1 if tried.count(tried[-1]) == 1 else carried_out(job)

    it.place.carried_out = crashes_once
    assert it.run() == 0
    it.keeper.check_sent(())
    assert sorted(tried) == sorted(names(study) * 2)
    assert finished(it.folder) == finished_of(0, studied[0])
    held = set(Store(address).sizes())
    assert held >= {f"{run}/result.json" for run in names(study)}
    assert not [name for name in held if name.startswith("leases/")]


def test_a_stopped_study_sends_what_it_has_and_lets_go(machine, study, address):
    place = Nothing()
    it = machine("it", place)

    def stop():
        wait_for(lambda: place.begun)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert it.run() == 143
    assert not [name for name in Store(address).sizes() if name.startswith("leases/")]


def test_another_study_does_not_take_the_address(machine, address):
    Store(address).write("study.json", b'{"name": "other"}')
    with pytest.raises(UserError, match="holds the study 'other'"):
        machine("it")


def test_an_address_without_a_name_or_an_answer_is_refused(monkeypatch):
    with pytest.raises(UserError, match="names no folder"):
        AtAddress("memory://", str)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    pytest.importorskip("s3fs")
    with pytest.raises(UserError, match="cannot be read.*network"):
        AtAddress("s3://bucket/study", str)


def test_who_learns_from_replays_has_them_brought(study_file, address, tmp_path, monkeypatch):
    """One machine explores, and is stopped; another learns from what it sent."""
    data = [{}, {"seed": 1000}]
    conditions = [{"name": "of two", "plan": "model", "data": data}]
    study = find_study(str(study_file(name="catch", pretrain_steps=120, conditions=conditions)), None, {})
    first, second, learner, *_ = (run.id for run in planned_runs(study))
    for run in planned_runs(study)[:2]:
        folder = tmp_path / "explored" / run.id
        carry_out(run.config, folder, QUIET, None, None, str)
        send(Store(address), run.id, folder, None)
    it = Machine("it", study, address, tmp_path, monkeypatch)
    assert it.run() == 0
    assert it.place.begun[0] == learner
    assert not {first, second} & set(it.place.begun)
    told = json.loads((it.folder / learner / "transfer.json").read_text())["data"]
    assert [entry["name"].rpartition("/")[2] for entry in told.values()] == [first, second]
