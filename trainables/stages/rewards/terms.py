"""The entries of a stage's ``rewards``, each with a weight: a rule, a regular expression, a JSON check, or a function
of one's own.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from trainables.config.base import Frozen
from trainables.data.errors import DataError
from trainables.data.rows import Prompt
from trainables.methods.own_code import OwnCode, OwnMethodError
from trainables.stages.rewards import own_function
from trainables.stages.rewards.rules import RULES, reference_problem


class RewardTerm(Frozen, ABC):
    """A reward of an answer; a stage adds up ``weight`` times the rewards of all of its terms."""

    kind: str
    weight: float = Field(default=1.0, allow_inf_nan=False)

    @property
    @abstractmethod
    def label(self) -> str:
        """What curves and metrics call it."""

    @property
    def text(self) -> str:
        """What it is, with its settings but for the weight: ``regex "^on "``."""
        settings = self.model_dump(mode="json", exclude={"kind", "weight", "code_path"})
        return " ".join([self.kind, *(json.dumps(value) for value in settings.values() if value)])

    @abstractmethod
    def rewards(self, rows: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        """The reward of each row's answer, without the weight: (rows,)."""

    def row_problem(self, row: Prompt) -> str | None:
        """Why answers to a row can't be rewarded; ``None`` where they can."""
        return None


class RuleReward(RewardTerm):
    """The reward of a rule that Paretune has, by its name."""

    kind: Literal["rule"] = "rule"
    rule: str

    @field_validator("rule")
    @classmethod
    def _is_known(cls, rule: str) -> str:
        if rule not in RULES:
            raise ValueError(f"there is no rule {rule!r}; there is {', '.join(RULES)}")
        return rule

    @property
    def label(self) -> str:
        return self.rule

    def rewards(self, rows: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        problem = next((each for row in rows if (each := self.row_problem(row))), None)
        if problem:
            raise DataError(problem)
        rule = RULES[self.rule]
        return [rule.reward(answer, row.reference or "") for row, answer in zip(rows, answers, strict=True)]

    def row_problem(self, row: Prompt) -> str | None:
        return reference_problem(self.rule, row.reference)


class RegexReward(RewardTerm):
    """1 where the regular expression is found anywhere in the answer, else 0; ``^`` and ``$`` hold it to both ends.

    >>> RegexReward(pattern="^(on|off) ").rewards([], ["on fan attic", "attic fan on"])
    [1.0, 0.0]
    """

    kind: Literal["regex"] = "regex"
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression of Python: {error}") from None
        return pattern

    @property
    def label(self) -> str:
        return "regex"

    def rewards(self, rows: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        return [float(re.search(self.pattern, answer) is not None) for answer in answers]


class JsonReward(RewardTerm):
    """1 where the answer is JSON, any value of it, and, with ``keys``, an object that has all of them; else 0.

    >>> JsonReward(keys=("room",)).rewards([], ['{"room": "attic"}', '["room"]', "attic"])
    [1.0, 0.0, 0.0]
    """

    kind: Literal["json"] = "json"
    keys: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return "json"

    def rewards(self, rows: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        return [float(self._holds(answer)) for answer in answers]

    def _holds(self, answer: str) -> bool:
        try:
            value = json.loads(answer, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return False
        return not self.keys or (isinstance(value, dict) and all(key in value for key in self.keys))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON (RFC 8259), though Python reads it")


class FunctionReward(RewardTerm):
    """What a function of one's own returns, given as ``module:function``; see ``own_function``.

    ``code_path`` and ``code_sha256``, the module beside the spec and its hash, are set while planning.
    """

    kind: Literal["function"] = "function"
    function: str
    code_path: Path | None = None
    code_sha256: str | None = None

    @field_validator("function")
    @classmethod
    def _names_a_function(cls, function: str) -> str:
        try:
            own_function.split_function(function)
        except OwnMethodError as error:
            raise ValueError(str(error)) from None
        return function

    @property
    def label(self) -> str:
        return self.function.partition(":")[2]

    def load(self) -> None:
        """Imports the function, for processes that were handed the config by the plan's own. Raises
        ``OwnMethodError``.
        """
        own_function.load_planned(self.function, self.code_path, self.code_sha256)

    def needed(self) -> str | None:
        """What has to be done for the function to be run; ``None`` where it was imported."""
        if own_function.is_loaded(self.function, self.code_sha256):
            return None
        return own_function.needed(self.function, self.code_path)

    def code(self) -> OwnCode | None:
        """The files of its code beside the spec; ``None`` where it is installed. Raises ``OwnMethodError``."""
        return OwnCode.read(self.code_path) if self.code_path is not None else None

    def rewards(self, rows: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        prompts = [list(row.prompt) for row in rows]
        place = self.code_path, self.code_sha256
        return own_function.call(self.function, *place, prompts, list(answers), _columns(rows))


def _columns(rows: Sequence[Prompt]) -> dict[str, list[Any]]:
    """What the rows have beside their prompts, by column: (rows,) each. Those of ``data.reward_columns`` are as in the
    files.
    """
    further = [json.loads(row.columns) if row.columns else {} for row in rows]
    return {
        **{
            name: [each.get(name) for each in further]
            for name in dict.fromkeys(n for each in further for n in each)
        },
        "reference": [row.reference for row in rows],
        "tools": [json.loads(row.tools) if row.tools else None for row in rows],
    }


Reward = Annotated[
    RuleReward | RegexReward | JsonReward | FunctionReward,
    Field(discriminator="kind"),
]
