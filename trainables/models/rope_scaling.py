"""RoPE scaling: maps positions beyond those that a model was trained with to ones it knows.

The formulas are transformers' (``modeling_rope_utils``): linear (Chen et al., 2023, arXiv:2306.15595; kaiokendev,
2023), dynamic NTK (emozilla, 2023), YaRN (Peng et al., 2023, arXiv:2309.00071), and Llama 3.1's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.config.rope import Rope

if TYPE_CHECKING:
    from trainables.models.folder import Architecture

LEARNED = frozenset({"wpe", "embed_positions", "position_embeddings"})  # names of the tables
SCALED_ALREADY = "its positions are already scaled ({kind}, factor {factor:g}); leave model.rope out"


def trained_positions(config: Mapping[str, Any]) -> int | None:
    """How many positions a model was trained with, by its ``config.json``; ``None`` if not stated."""
    text = config.get("text_config") or config
    positions = text.get("max_position_embeddings", text.get("n_positions"))
    return positions if isinstance(positions, int) else None


def has_learned_positions(architecture: Architecture) -> bool:
    """Whether each position has an embedding of its own, so that a model can't read beyond the last one."""
    return not LEARNED.isdisjoint(architecture.text_matrix_names)


def scaling_problem(config: Mapping[str, Any], rope: Rope) -> str | None:
    """Why ``rope`` can't be applied to a model with this ``config.json``; ``None`` if it can."""
    if trained_positions(config) is None:
        return "its config.json doesn't state max_position_embeddings, so there is nothing to scale"
    parameters = _rope_parameters(config)
    if parameters is None:
        return "it has no rotary positions (rope_parameters), so there is nothing to scale"
    # Older configs call it `type`.
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        return SCALED_ALREADY.format(kind=kind, factor=parameters.get("factor", 1))
    return None


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any] | None:
    text = config.get("text_config") or config
    parameters = text.get("rope_parameters") or text.get("rope_scaling")
    if parameters is None:
        # Older configs without scaling have `rope_theta` alone.
        return {} if text.get("rope_theta") else None
    # Models whose layers differ in attention have a mapping for each type of layer.
    return parameters.get("full_attention", parameters)


def apply_scaling(config: Any, base: Any, rope: Rope, cutoff: int) -> None:
    """Sets ``rope`` on a transformers config before its model is loaded.

    ``base``: the base model's config, from which the scaling is computed. ``config`` may be that of weights trained
    with scaled positions, which must not be scaled twice. Where layers differ, those with full attention are scaled.
    """
    base_text, text = base.get_text_config(), config.get_text_config()
    known = base_text.max_position_embeddings
    parameters = dict(base_text.rope_parameters)
    if "full_attention" in parameters:
        parameters["full_attention"] = rope.parameters(parameters["full_attention"], known, cutoff)
    else:
        parameters = rope.parameters(parameters, known, cutoff)
    text.rope_parameters = parameters
    # Dynamic scaling starts beyond the known positions, so the config keeps their number.
    factor = 1.0 if rope.kind == "dynamic" else rope.factor_for(cutoff, known)
    text.max_position_embeddings = int(known * factor)


def describe_scaling(config: Any) -> str | None:
    """The scaling in a loaded model's config, such as ``yarn x 4``; ``None`` if positions aren't scaled."""
    parameters = config.get_text_config().rope_parameters
    parameters = parameters.get("full_attention", parameters)
    kind = parameters["rope_type"]
    return None if kind == "default" else f"{kind} x {parameters.get('factor', 1):g}"
