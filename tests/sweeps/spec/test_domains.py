"""Search domains: what is read, what is refused and how, and what Optuna is given."""

from __future__ import annotations

import math
import random
import warnings

import pytest

from sweeps.spec.domain_parser import Choice, Domain, DomainError, Int, Log, Uniform, parse

EVERY = [
    Choice((4, 8, 16)),
    Choice(("all-linear", ["q_proj", "v_proj"], None, True)),
    Log(1e-4, 5e-3),
    Uniform(0.0, 0.3),
    Uniform(0.0, 0.35, 0.1),
    Int(1, 8),
    Int(1, 10, 4),
    Int(4, 64, log=True),
]


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ({"choice": [4, 8]}, Choice((4, 8))),
        ({"log": [1, 10]}, Log(1.0, 10.0)),
        ({"uniform": [0, 0.3]}, Uniform(0.0, 0.3)),
        ({"uniform": [0, 1], "step": 0.25}, Uniform(0.0, 1.0, 0.25)),
        ({"int": [1, 8]}, Int(1, 8)),
        ({"int": [1, 8], "step": 2}, Int(1, 8, 2)),
        ({"log": True, "int": [4, 64]}, Int(4, 64, log=True)),
        ({"log": [1e-5, 1e-3], "start": 1e-4}, Log(1e-5, 1e-3, start=1e-4)),
        ({"choice": ["a", "b"], "start": "b"}, Choice(("a", "b"), start="b")),
        ({"int": [1, 9], "step": 4, "start": 5.0}, Int(1, 9, 4, start=5)),
    ],
)
def test_a_domain_is_parsed_as_it_is_written(written: dict, domain: Domain) -> None:
    assert parse(written) == domain


@pytest.mark.parametrize("value", [3, "log", [1, 2], None, {"low": 1, "high": 2}, {}])
def test_a_value_without_a_domains_key_is_plain(value: object) -> None:
    assert parse(value) is None


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ({"log": [64, 8]}, "log needs 0 < low < high, got low=64, high=8. Swap them?"),
        ({"log": [0, 8]}, "log needs 0 < low < high, got low=0, high=8. From 0 on, write uniform"),
        ({"log": [8, -1]}, "log needs 0 < low < high, got low=8, high=-1"),
        ({"log": [8]}, "log needs two numbers, got [8]. Write {log: [low, high]}"),
        ({"log": ["1e-4", 1]}, 'log needs two numbers, got ["1e-4", 1]. Write {log: [1e-4, 1]}'),
        ({"log": [math.nan, 1]}, "log needs two numbers, got [nan, 1]. Write {log: [low, high]}"),
        ({"uniform": [True, 2]}, "uniform needs two numbers, got [true, 2]. Write {uniform: [low, high]}"),
        ({"uniform": [0.3, 0.1]}, "uniform needs low < high, got low=0.3, high=0.1. Swap them?"),
        ({"uniform": [0, 1], "step": 2}, "step needs a number above 0 and at most high - low, got 2"),
        ({"int": [4, 4]}, "int needs low < high, got low=4, high=4"),
        ({"int": [1.5, 4]}, "int needs whole numbers, got low=1.5, high=4. Or write uniform"),
        ({"int": [1, 4], "step": 0}, "step needs a whole number above 0 and at most high - low, got 0"),
        ({"int": [1, 4], "log": "yes"}, "log beside int must be true or false, got yes"),
        (
            {"int": [0, 4], "log": True},
            "int with log needs low above 0 and no step, got low=0, high=4, step=1",
        ),
        ({"choice": []}, "choice needs a list of values, got []. Write {choice: [a, b]}"),
        ({"choice": 4}, "choice needs a list of values, got 4. Write {choice: [a, b]}"),
        ({"choice": [4, 4]}, "choice lists 4 twice. Remove one"),
        ({"choice": [4, 8], "start": 5}, "start needs a value of choice [4, 8], got 5"),
        ({"log": [1e-5, 1e-3], "start": 0.1}, "start needs a value of log [1e-05, 0.001], got 0.1"),
        ({"log": [1e-5, 1e-3], "start": "1e-4"}, 'start needs a number, got "1e-4"'),
        ({"choice": [{"log": [1, 2]}]}, "choice contains another domain, {log: [1, 2]}. Write one domain"),
    ],
)
def test_a_malformed_domain_says_what_it_needs_and_got(written: dict, what: str) -> None:
    with pytest.raises(DomainError) as caught:
        parse(written)
    assert str(caught.value) == what


def test_a_key_that_a_domain_does_not_allow_is_refused() -> None:
    with pytest.raises(DomainError, match=r"choice takes start, got step\. A domain is \{choice:"):
        parse({"choice": [1, 2], "step": 1})


def test_probes_are_both_ends_or_every_choice() -> None:
    assert [domain.probes() for domain in EVERY] == [
        (4, 8, 16),
        ("all-linear", ["q_proj", "v_proj"], None, True),
        (1e-4, 5e-3),
        (0.0, 0.3),
        (0.0, pytest.approx(0.3)),
        (1, 8),
        (1, 9),
        (4, 64),
    ]


def test_a_size_counts_the_distinct_values_and_is_none_for_a_continuum() -> None:
    assert [domain.size() for domain in EVERY] == [3, 4, None, None, 4, 8, 3, 61]


def test_clipping_gives_the_nearest_value_of_the_domain() -> None:
    assert Choice((4, 8, 16)).clip(8) == 8
    assert Choice((4, 8, 16)).clip(100) == 16
    assert Choice(("a", 4, True)).clip(100) == 4
    assert Choice(("a", "b")).clip(3) == "a"
    assert Log(1e-4, 1e-3).clip(2e-3) == 1e-3
    assert Uniform(0.0, 0.35, 0.1).clip(1) == pytest.approx(0.3)
    assert Int(1, 10, 4).clip(4) == 5
    assert isinstance(Int(1, 10).clip(2.0), int)


def test_a_clipped_value_is_inside_the_domain_and_clips_to_itself() -> None:
    dice = random.Random(0)
    for _ in range(500):
        domain = parse({"int": sorted(dice.sample(range(1, 99), 2)), "step": 1})
        assert isinstance(domain, Int)
        value = domain.clip(dice.uniform(-50, 150))
        assert domain.low <= value <= domain.high
        assert domain.clip(value) == value


def test_optunas_proposals_decode_to_values_of_the_domain() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns about types it can't store and ends it must move
        for _ in range(30):
            trial = study.ask({str(n): domain.distribution() for n, domain in enumerate(EVERY)})
            for n, domain in enumerate(EVERY):
                value = domain.decode(trial.params[str(n)])
                assert domain.clip(value) == pytest.approx(value) if isinstance(value, float) else True
                assert not isinstance(domain, Choice) or value in domain.values


def test_every_choice_survives_encoding() -> None:
    domain = Choice((None, True, 4, 0.5, "all-linear", ["q_proj"], {"a": [1]}))
    assert [domain.decode(domain.encode(value)) for value in domain.values] == list(domain.values)
    assert domain.encode(["q_proj"]) == '["q_proj"]'


def test_a_domain_prints_readably() -> None:
    assert [str(domain) for domain in EVERY] == [
        "choice [4, 8, 16]",
        "choice [all-linear, [q_proj, v_proj], null, true]",
        "log [0.0001, 0.005]",
        "uniform [0, 0.3]",
        "uniform [0, 0.35] step 0.1",
        "int [1, 8]",
        "int [1, 10] step 4",
        "int [4, 64] log",
    ]
