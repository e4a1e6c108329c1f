"""``model.quantization`` is short for QLoRA's own fields: it makes a lora a qlora, and leaves the model."""

from __future__ import annotations

from sweeps.nodes import Branch, Leaf, Node
from sweeps.problems import Problem, shown
from sweeps.source import Source

TAKES = ("lora", "qlora")


def settle(cell: Branch, source: Source) -> tuple[Branch, list[Problem]]:
    """The cell with the model's quantization moved to its method, and what stands in the way.

    >>> settle(cell, source)  # model: {quantization: 4}, method: {kind: lora}  # doctest: +SKIP
    (Branch(... method: {kind: qlora, bits: 4} ...), [])
    """
    model, method = cell.get("model"), cell.get("method")
    if not isinstance(model, Branch) or (given := model.get("quantization")) is None:
        return cell, []
    cell = cell.adding(model=model.without("quantization"))
    # `quantization: null` takes back what the spec says for all cells.
    if given.plain() is None:
        return cell, []
    assert isinstance(method, Branch)
    kind = method.plain()["kind"]
    if kind not in TAKES:
        what = f"{kind} trains the base's own weights, which quantization freezes. Use it with lora or qlora"
        return cell, [source.problem(given.origin, what)]
    fields = given.children if isinstance(given, Branch) else {"bits": given}
    problems = [
        problem for key in fields if (problem := _conflict(method, key, fields[key], source)) is not None
    ]
    quantized: dict[str, Node] = {key: node for key, node in fields.items() if method.get(key) is None}
    # `kind` stays first, where names and readers look for it.
    return cell.adding(
        method=method.adding(kind=Leaf("qlora", method.children["kind"].origin), **quantized)
    ), problems


def _conflict(method: Branch, key: str, wanted: Node, source: Source) -> Problem | None:
    own = method.get(key)
    if own is None or own.plain() == wanted.plain():
        return None
    what = (
        f"{shown(own.plain())} here, but model.quantization says {shown(wanted.plain())}. Keep one of the two"
    )
    return source.problem(own.origin, what)
