"""RoPE scaling: positions beyond those a model was trained with, mapped to what it knows.

Formulas are transformers' (``modeling_rope_utils``): linear (Chen et al., 2023, arXiv:2306.15595; kaiokendev, 2023),
dynamic NTK (emozilla, 2023), YaRN (Peng et al., 2023, arXiv:2309.00071), and Llama 3.1's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.config.rope import Rope

SCALED_ALREADY = "its positions are scaled already ({kind}, factor {factor:g}); leave model.rope out"


def known_positions(config: Mapping[str, Any]) -> int | None:
    """How many positions a model knows, by its ``config.json``; ``None`` where that isn't said."""
    text = config.get("text_config") or config
    found = text.get("max_position_embeddings")
    return found if isinstance(found, int) else None


def problem(config: Mapping[str, Any], rope: Rope) -> str | None:
    """Why a model's positions can't be scaled so; ``None`` if they can."""
    if known_positions(config) is None:
        return "its config.json doesn't say how many positions it knows, so there is nothing to scale"
    parameters = _own(config)
    if parameters is None:
        return "it has no rotary positions (rope_parameters), so there is nothing to scale"
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        return SCALED_ALREADY.format(kind=kind, factor=parameters.get("factor", 1))
    return None


def _own(config: Mapping[str, Any]) -> dict[str, Any] | None:
    text = config.get("text_config") or config
    found = text.get("rope_parameters") or text.get("rope_scaling")
    if found is None:
        return {} if text.get("rope_theta") else None
    return found.get("full_attention", found)


def scale(config: Any, base: Any, rope: Rope, cutoff: int) -> None:
    """Sets ``rope`` on a transformers config that is about to be loaded.

    ``base`` is the base model's config: weights that were trained with scaled positions say so in their own, and
    aren't scaled twice. Where layers of a model differ, those with full attention are scaled.
    """
    own, text = base.get_text_config(), config.get_text_config()
    known = own.max_position_embeddings
    parameters = dict(own.rope_parameters)
    if "full_attention" in parameters:
        parameters["full_attention"] = rope.parameters(parameters["full_attention"], known, cutoff)
    else:
        parameters = rope.parameters(parameters, known, cutoff)
    text.rope_parameters = parameters
    # Dynamic scaling begins where the positions that are known end.
    grown = 1.0 if rope.kind == "dynamic" else rope.factor_for(cutoff, known)
    text.max_position_embeddings = int(known * grown)


def applied(config: Any) -> str | None:
    """What a loaded model's config says of its positions: ``yarn x 4``; ``None`` where they aren't scaled."""
    parameters = config.get_text_config().rope_parameters
    parameters = parameters.get("full_attention", parameters)
    kind = parameters["rope_type"]
    return None if kind == "default" else f"{kind} x {parameters.get('factor', 1):g}"
