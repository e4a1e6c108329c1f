"""``model.quantization`` is short for QLoRA's own fields: it makes a lora a qlora, and leaves the model."""

from __future__ import annotations

from sweeps.spec.problems import Problem, format_value
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, Leaf, Node
from trainables.quantizers import QUANTIZERS
from trainables.system.suggestions import did_you_mean

TAKES = ("lora", "qlora")
PLACE = ("model", "quantization")
NONE = (None, "none")
WAYS = f"none, 8, 4, or {', '.join(f'{{{name}: {value.bits[-1]}}}' for name, value in QUANTIZERS.items())}"
ALSO = {"bitsandbytes": "bnb"}  # what people call them elsewhere


def move_to_method(cell: Branch, source: Source) -> tuple[Branch, list[Problem]]:
    """The cell with the model's quantization moved to its method, and what stands in the way.

    >>> settle(cell, source)  # model: {quantization: {bnb: 4}}, method: {kind: lora}  # doctest: +SKIP
    (Branch(... method: {kind: qlora, backend: bnb, bits: 4} ...), [])
    """
    model, method = cell.get("model"), cell.get("method")
    if not isinstance(model, Branch) or (given := model.get("quantization")) is None:
        return cell, []
    cell = cell.adding(model=model.without("quantization"))
    # `quantization: none` takes back what the spec says for all cells.
    if given.plain() in NONE:
        return cell, []
    fields = _fields(given)
    if isinstance(fields, str):
        return cell, [source.problem(given.origin, fields)]
    assert isinstance(method, Branch)
    kind = method.plain()["kind"]
    if kind not in TAKES:
        what = f"{kind} trains the base's own weights, which quantization freezes. Use it with lora or qlora"
        return cell, [source.problem(given.origin, what)]
    problems = [
        problem for key in fields if (problem := _conflict(method, key, fields[key], source)) is not None
    ]
    quantized: dict[str, Node] = {key: node for key, node in fields.items() if method.get(key) is None}
    # `kind` stays first, where names and readers look for it.
    return cell.adding(
        method=method.adding(kind=Leaf("qlora", method.children["kind"].origin), **quantized)
    ), problems


def _fields(given: Node) -> dict[str, Node] | str:
    """QLoRA's fields for what stands at ``model.quantization``, or what is wrong with it.

    ``{hqq: 4, group_size: 32}`` is short for ``{backend: hqq, bits: 4, group_size: 32}``.
    """
    if not isinstance(given, Branch):
        value = given.plain()
        if isinstance(value, str):
            near = did_you_mean(value, QUANTIZERS)
            return f"got {format_value(value)}; allowed: {WAYS}{near}"
        return {"bits": given}
    fields = dict(given.children)
    named = [key for key in fields if ALSO.get(key, key) in QUANTIZERS]
    if not named:
        return fields
    if len(named) > 1 or {"backend", "bits"} & fields.keys():
        return f"got {format_value(given.plain())}, which says twice how many bits, or whose; write {WAYS}"
    bits = fields.pop(named[0])
    return {"backend": Leaf(ALSO.get(named[0], named[0]), bits.origin), "bits": bits, **fields}


def _conflict(method: Branch, key: str, wanted: Node, source: Source) -> Problem | None:
    own = method.get(key)
    if own is None or own.plain() == wanted.plain():
        return None
    what = f"{format_value(own.plain())} here, but model.quantization says {format_value(wanted.plain())}. Keep one of the two"
    return source.problem(own.origin, what)
