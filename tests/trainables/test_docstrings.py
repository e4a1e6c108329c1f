"""The examples in docstrings are right."""

import doctest
import importlib
import pkgutil

import pytest

import trainables

PACKAGES = ("auc", "config", "data", "storage", "system", "templates", "tokenization")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(trainables.__path__, "trainables.")
    if module.name.split(".")[1] in PACKAGES
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_its_docstrings_hold(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert not failures
