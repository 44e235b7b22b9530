"""What `expedition list` shows."""

import json

from envs import environments, suites
from experiments.command_line.catalogue import catalogue, format_catalogue
from experiments.studies.presets import presets
from exploration import INTRINSIC
from transfer.plan import COMPONENTS, PLANS
from world_model import SIZES


def test_everything_with_a_name_is_listed():
    found = catalogue()
    assert list(found) == ["environments", "intrinsic", "plans", "studies", "sizes"]
    known = (environments(), INTRINSIC, PLANS, presets(), SIZES)
    for kind, names in zip(found.values(), known, strict=True):
        assert list(kind) == list(names)
        assert all(entry["description"] for entry in kind.values())
    assert json.loads(json.dumps(found)) == found
    assert {"crafter"} <= set(found["environments"])
    named = "disagreement rnd byol-explore icm apt lbs e3b none random-data"
    assert set(named.split()) <= set(found["intrinsic"])
    assert set(found["plans"]["model"]["components"]) == set(COMPONENTS)
    quick = found["studies"]["quickstart"]["budgets"]["laptop"]
    assert quick["conditions"] == ["scratch", "policy", "model", "model+policy"]


def test_the_text_names_everything_once_and_fits():
    lines = format_catalogue(catalogue()).splitlines()
    words = [word for line in lines for word in line.split()]
    assert all(words.count(name) == 1 for name in environments() if "-" in name)
    for kind, entries in catalogue().items():
        for name in entries if kind != "environments" else suites():
            assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert max(map(len, lines)) <= 110
