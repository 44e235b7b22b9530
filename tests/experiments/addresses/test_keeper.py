"""Studies kept at an address: one after another on several machines, at once, and when the store is lost."""

import dataclasses
import json
import threading

import pytest

from expedition import UserError
from experiments.addresses import keeper, leases, reading
from experiments.addresses.keeper import AtAddress
from experiments.addresses.leases import Leases
from experiments.launchers.launcher import Launcher
from experiments.launchers.worker import Job, carry_out
from experiments.studies.presets import find_study
from tests.experiments.launchers.alike import QUIET, finished, finished_of, lines, wait_for
from training import from_dict
from training.storage.shared import Store
