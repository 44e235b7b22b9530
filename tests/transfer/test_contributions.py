"""Effects of factorials and Shapley values, against numbers worked by hand and identities."""

import math
from itertools import permutations

import numpy as np
import pytest

from expedition import UserError
from transfer.contributions import Factorial, contributions, default_factorial

SEEDS = {"scratch": {0: 1.0, 1: 2.0, 2: 3.0}, "policy": {0: 2.0, 1: 4.0, 2: 6.0}}
SEEDS |= {"model": {0: 4.0, 1: 5.0, 2: 6.0}, "model+policy": {0: 7.0, 1: 9.0, 2: 11.0}}
NAMES = ("model", "policy", "replay")


def cube(values):
    """A factorial of three components and its results for one seed: values by what is carried, in letters."""
    spelled = {letters: "+".join(n for n in NAMES if n[0] in letters) for letters in values}
    factorial = Factorial.named(NAMES, {name: letters for letters, name in spelled.items()})
    return factorial, {letters: {0: value} for letters, value in values.items()}


def effects(factorial, results):
    return {name: found.mean for name, found in contributions(results, factorial).items()}


def test_two_components_by_hand():
    factorial = default_factorial(SEEDS)
    pairs = {effect.name: factorial.paired(effect, SEEDS) for effect in factorial.effects()}
    assert pairs == {
        "total gain": {0: 6.0, 1: 7.0, 2: 8.0},
        "model: Shapley value": {0: 4.0, 1: 4.0, 2: 4.0},
        "policy: Shapley value": {0: 2.0, 1: 3.0, 2: 4.0},
        "model: main effect": {0: 4.0, 1: 4.0, 2: 4.0},
        "policy: main effect": {0: 2.0, 1: 3.0, 2: 4.0},
        "model x policy": {0: 1.0, 1: 1.0, 2: 1.0},
        "model alone": {0: 3.0, 1: 3.0, 2: 3.0},
        "model given policy": {0: 5.0, 1: 5.0, 2: 5.0},
        "policy alone": {0: 1.0, 1: 2.0, 2: 3.0},
        "policy given model": {0: 3.0, 1: 4.0, 2: 5.0},
    }
    found = contributions(SEEDS, factorial)
    assert list(found) == list(pairs)
    # Gains of 6, 7, 8: standard error 1 / sqrt(3); Student's t at 97.5 % and 2 degrees: 4.302653.
    assert found["total gain"].high == pytest.approx(7 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert (found["model x policy"].low, found["model x policy"].high) == (1.0, 1.0)


def test_three_components_by_hand():
    # Of the six orders m comes first in two (10), after p in one (30 - 4), after r in one (18 - 6), last in
    # two (50 - 12): (2 * 10 + 26 + 12 + 2 * 38) / 6 = 134 / 6. p: (2 * 4 + 20 + 6 + 2 * 32) / 6 = 98 / 6.
    # r: (2 * 6 + 8 + 8 + 2 * 20) / 6 = 68 / 6. Together 50.
    factorial, results = cube(
        {"": 0.0, "m": 10.0, "p": 4.0, "r": 6.0, "mp": 30.0, "mr": 18.0, "pr": 12.0, "mpr": 50.0}
    )
    found = effects(factorial, results)
    assert found["model: Shapley value"] == pytest.approx(134 / 6)
    assert found["policy: Shapley value"] == pytest.approx(98 / 6)
    assert found["replay: Shapley value"] == pytest.approx(68 / 6)
    # With model (10 + 30 + 18 + 50) / 4, without (0 + 4 + 6 + 12) / 4.
    assert found["model: main effect"] == pytest.approx(21.5)
    # Half the difference between model's effect with policy, (26 + 38) / 2, and without, (10 + 12) / 2.
    assert found["model x policy"] == pytest.approx((32 - 11) / 2)
    # Half the difference between that interaction with replay, (38 - 12) / 2, and without, (26 - 10) / 2.
    assert found["model x policy x replay"] == pytest.approx((13 - 8) / 2)
    assert found["model given policy+replay"] == 38.0
    assert found["replay alone"] == 6.0


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_identities_hold_for_any_results(k):
    names = tuple("abcd"[:k])
    cells = {"+".join(n for i, n in enumerate(names) if code >> i & 1): str(code) for code in range(2**k)}
    factorial = Factorial.named(names, cells)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        values = {str(code): float(v) for code, v in enumerate(rng.standard_cauchy(2**k))}
        found = effects(factorial, {name: {0: value} for name, value in values.items()})
        total = found["total gain"]
        assert total == pytest.approx(values[str(2**k - 1)] - values["0"])
        if k == 1:
            assert list(found) == ["total gain"]
            continue
        shapley = [found[f"{n}: Shapley value"] for n in names]
        assert sum(shapley) == pytest.approx(total, abs=1e-9 * sum(map(abs, values.values())))
        assert shapley == pytest.approx(by_orders(values, k))
        # Effects of odd order are half the differences between the corners' signs, so they sum to the total.
        odd = [v for n, v in found.items() if "main" in n or n.count(" x ") in (2, 4)]
        assert sum(odd) == pytest.approx(total)


def by_orders(values, k):
    """Shapley's definition: what each adds on arrival, over all orders of arrival."""
    gains = np.zeros(k)
    for order in permutations(range(k)):
        code = 0
        for part in order:
            gains[part] += values[str(code | 1 << part)] - values[str(code)]
            code |= 1 << part
    return list(gains / math.factorial(k))


def test_with_two_components_main_effects_and_interaction_give_the_simple_ones():
    factorial = default_factorial(SEEDS)
    draws = np.random.default_rng(0).normal(size=(4, 6))
    found = effects(factorial, {n: dict(enumerate(row)) for n, row in zip(SEEDS, draws, strict=True)})
    for part, rest in (("model", "policy"), ("policy", "model")):
        assert found[f"{part}: main effect"] == pytest.approx(found[f"{part}: Shapley value"])
        upper = found[f"{part}: main effect"] + found["model x policy"]
        assert found[f"{part} given {rest}"] == pytest.approx(upper)
        assert found[f"{part} alone"] == pytest.approx(upper - 2 * found["model x policy"])


def test_each_uses_the_seeds_its_own_conditions_share():
    results = {name: dict(by_seed) for name, by_seed in SEEDS.items()}
    del results["policy"][0]
    results["model"][5] = 50.0
    found = contributions(results, default_factorial(results))
    assert found["model alone"].n == found["total gain"].n == 3
    assert found["policy alone"].n == found["model: Shapley value"].n == 2
    assert found["policy alone"].low is None


def test_missing_cells_leave_out_what_needs_them_and_are_named():
    results = {name: SEEDS[name] for name in ("scratch", "model", "policy")}
    factorial = default_factorial(results)
    assert list(contributions(results, factorial)) == ["model alone", "policy alone"]
    total, *_ = factorial.effects()
    assert factorial.missing(total, results) == ["model+policy"]
    partial = Factorial.named(NAMES, {"": "scratch", "model": "model", "policy": "policy"})
    by_name = {effect.name: effect for effect in partial.effects()}
    assert partial.missing(by_name["policy alone"], SEEDS) == []
    assert partial.missing(by_name["replay given model+policy"], SEEDS) == [
        "model+policy",
        "model+policy+replay",
    ]
    assert contributions({"all": {0: 1.0}}, default_factorial(["all"])) == {}


def test_seeds_that_never_meet_give_nothing():
    results = {"scratch": {0: 1.0}, "model": {1: 2.0}}
    assert contributions(results, default_factorial(results)) == {}


def test_the_clean_fourth_cell_is_preferred():
    assert (
        default_factorial(["model+policy", "model+prior"]).cells[frozenset({"model", "policy"})]
        == "model+prior"
    )
    assert default_factorial(SEEDS).cells[frozenset({"model", "policy"})] == "model+policy"
    assert default_factorial(SEEDS).baseline == "scratch"


@pytest.mark.parametrize("conditions", [["learn", "data"], ["scratch", "encoder"]])
def test_a_study_that_carries_no_cell_has_no_effects_to_miss(conditions):
    assert default_factorial(conditions).of(conditions).effects() == []
    more = [*conditions, "scratch", "model"]
    assert default_factorial(more).of(more).effects() != []


@pytest.mark.parametrize(
    ("components", "cells", "sentence"),
    [
        ([], {}, "names its components"),
        (["model", "model"], {}, "each once"),
        (["model"], {"model+polcy": "x"}, "no cell 'model\\+polcy'|no cell 'polcy'"),
        (["a", "b"], {"a+b": "x", "b+a": "y"}, "each set of components once"),
        (["a", "b"], {"a": "x", "b": "x"}, "one set of components only"),
    ],
)
def test_impossible_factorials_get_one_sentence(components, cells, sentence):
    with pytest.raises(UserError, match=sentence):
        Factorial.named(components, cells)


def test_plain_values_make_the_same_factorial_again():
    plain = {"components": ["model", "policy"], "cells": {"": "none", "model": "m", "model+policy": "both"}}
    turned = {"": "none", "model": "m", "policy+model": "both"}
    assert Factorial.named(plain["components"], turned).as_dict() == plain
    assert Factorial.named(**plain).as_dict() == plain


def test_nan_is_refused():
    results = {"scratch": {0: 1.0}, "model": {0: math.nan}}
    with pytest.raises(ValueError, match="missing seeds"):
        contributions(results, default_factorial(results))
