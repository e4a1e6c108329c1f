"""Stage classes: an incomplete one fails at once, and the union accepts every complete one."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import pytest
from pydantic import TypeAdapter

from trainables.data.rows import Text
from trainables.stages import Stage
from trainables.stages.base import TrainingStage


class Incomplete(TrainingStage):
    kind: Literal["incomplete"] = "incomplete"
    row_type: ClassVar[type] = Text

    def objective_name(self) -> str:
        return "nothing"


def test_a_stage_without_its_trainer_or_score_cannot_be_instantiated() -> None:
    with pytest.raises(
        TypeError, match=r"abstract methods .*encode.* quality.* score.* trainer.* validation_scores"
    ):
        Incomplete()


@pytest.mark.parametrize("stage", get_args(get_args(Stage)[0]))
def test_every_stage_of_the_union_is_complete_and_read_back_from_its_json(stage: type[TrainingStage]) -> None:
    settings = {"reward": "commands"} if stage.__name__ in ("PPO", "GRPO") else {}
    made = stage(**settings)
    read: TrainingStage = TypeAdapter(Stage).validate_json(made.model_dump_json())
    assert read == made
    assert type(read) is stage
