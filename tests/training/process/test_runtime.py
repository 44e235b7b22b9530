"""Devices, and the wish to stop."""

import os
import signal

import pytest
import torch

from expedition import UserError
from training import prepare_process
from training.process.runtime import StopSignal, choose_device


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no CUDA device .* --device cpu"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")


def test_an_unknown_device_gets_the_nearest():
    with pytest.raises(UserError, match="Unknown device 'cpus': did you mean cpu"):
        choose_device("cpus")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_a_second_interrupts(number, code):
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop
        assert stop.exit_code == 0
        os.kill(os.getpid(), number)
        assert stop
        assert stop.exit_code == code
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_cluster_that_takes_the_node_away_is_heard_and_interrupts_nothing(number):
    with StopSignal() as stop:
        for each in (number, number, signal.SIGTERM, number):
            os.kill(os.getpid(), each)
        assert stop.exit_code == 128 + number


def test_handlers_come_back_after_a_failure():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopSignal():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_threads_are_set_and_zero_leaves_them():
    before = torch.get_num_threads()
    try:
        prepare_process(2)
        assert torch.get_num_threads() == 2
        prepare_process(0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
