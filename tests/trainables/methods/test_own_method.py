"""Classes of one's own that derive from ours: what is known of them without their code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainables.config.optimizers.lomo import Lomo
from trainables.config.train import TrainConfig
from trainables.methods import own_method
from trainables.methods.base import FineTuning
from trainables.methods.own_code import OwnCode

CODE = """
from trainables.methods import Full, LoRA, PeftAdapter, QLoRA


class Peft(PeftAdapter):
    pass


class Low(LoRA):
    pass


class Quantized(QLoRA):
    pass


class Wide(LoRA):
    def load_dtype(self, dtypes):
        return dtypes.trainable


class Penalized(Full):
    def add_gradients(self, model):
        raise AssertionError
"""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads the config of a class in :data:`CODE`."""
    monkeypatch.setattr(own_method, "_CLASSES", {})
    monkeypatch.setattr(own_method, "_LATEST", {})

    def config(name: str, module: str = "derived_methods", **settings: Any) -> FineTuning:
        file = tmp_path / f"{module}.py"
        file.write_text(CODE)
        kind = f"{module}:{name}"
        own_method.load_class(kind, OwnCode.read(file))
        return own_method.read_own({"kind": kind, **settings, **own_method.filled(kind)})

    return config


@pytest.mark.parametrize(
    ("name", "settings", "holds"),
    [
        ("Peft", {"type": "ia3"}, False),
        ("Peft", {"type": "ia3", "bits": 4}, True),
        ("Low", {}, False),
        ("Quantized", {}, True),
        ("Wide", {}, True),
    ],
)
def test_a_base_has_a_form_of_its_own_where_it_is_quantized_or_the_class_says_how_it_is_loaded(
    read: Any, name: str, settings: dict[str, Any], holds: bool
) -> None:
    method = read(name, **settings)
    assert method.holds_base is holds
    written = method.model_dump(mode="json")
    assert written["holds_base"] is holds
    # As a process reads it that does not import the class.
    assert own_method.OwnMethod.model_validate(written).holds_base is holds


def test_classes_of_one_name_in_two_modules_take_no_similar_time(read: Any) -> None:
    one, other = read("Low"), read("Low", module="derived_elsewhere")
    assert one.label == other.label
    assert one.similarity.startswith("Low derived_methods:Low")
    assert other.similarity.startswith("Low derived_elsewhere:Low")


def test_gradients_are_added_to_those_of_an_optimizer_that_leaves_them(read: Any) -> None:
    in_backward = TrainConfig(steps=2, learning_rate=1e-3, optimizer=Lomo(), max_grad_norm=None)
    assert "leaves no gradients" in dict(read("Penalized").training_obstacles(in_backward))["optimizer"]
    assert not dict(read("Penalized").training_obstacles(TrainConfig(steps=2, learning_rate=1e-3)))
    assert "optimizer" not in dict(read("Low").training_obstacles(in_backward))
