"""What a loaded model does with a few tokens: the same questions for every family, those to come included.

Training and scoring take short cuts that hold for most models and not for all. A name says nothing about it, so each
model is asked, once, before its first step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from trainables.models.architecture.flash_attention import flash_boundaries, is_flash
from trainables.models.folder import ModelError
from trainables.storage import cache, files

SHORT, LONG = 5, 9  # tokens of the two rows
# Largest relative difference of the logits at a position, in 32 and in 16 bits, that rounding explains: between two
# ways to compute the same, and in the same way with other tokens that should not matter.
OTHER_WAY, SAME_WAY = (1e-4, 2e-2), (1e-5, 1e-3)
# What torch says where a model's own code mixes dtypes.
DTYPE_ERROR = re.compile(r"dtype|scalar type", re.IGNORECASE)


@dataclass(frozen=True)
class Behaviour:
    """What holds for a model.

    ``head_gives_logits``: the output embedding of the last hidden states gives the model's own logits, so they can be
    computed for some positions alone. ``rows_can_share``: two rows in one row of the batch, each with positions from 0,
    give what each gives alone.
    """

    head_gives_logits: bool = True
    rows_can_share: bool = True


def probe(causal: Any) -> Behaviour:
    """The behaviour of a loaded causal language model, without adapters; kept in the cache by its config.

    Costs nine forward passes of a few tokens. Random generators stay as they are, and so does the model. Raises
    ``ModelError`` for a model whose predictions depend on later tokens, or on padding that follows a row.
    """
    return cache.value("behaviour", model_key(causal), "behaviour.json", Behaviour, lambda: _measured(causal))


def model_key(causal: Any) -> str:
    """A key that models have in common of which a probe says the same: by class, config, dtype and libraries."""
    config = {name: str(value) for name, value in causal.config.to_dict().items() if name != "_name_or_path"}
    return files.sha256(
        [
            type(causal).__name__,
            config,
            _attention_key(str(causal.config._attn_implementation)),
            str(causal.dtype),
            str(causal.device.type),
            torch.__version__,
            transformers.__version__,
        ]
    )


def _attention_key(attention: str) -> str:
    # Its answers of before are of rows that were kept apart by positions.
    return f"{attention} with boundaries" if is_flash(attention) else attention


def head_logits(causal: Any, hidden: Tensor) -> Tensor:
    """The logits for hidden states (positions, width), in 32 bits, capped as the model's: (positions, vocab).

    Not the model's own where :attr:`Behaviour.head_gives_logits` is false: some scale them, or transform hidden states.
    """
    logits = causal.get_output_embeddings()(hidden).float()
    cap = getattr(causal.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _measured(causal: Any) -> Behaviour:
    training = causal.training
    causal.eval()
    try:
        with torch.no_grad(), _tokens_apart(causal):
            _require_causal(causal)
            require_padding(causal)
            return Behaviour(_head_gives_logits(causal), _rows_can_share(causal))
    finally:
        causal.train(training)


@contextmanager
def _tokens_apart(causal: Any) -> Iterator[None]:
    """Rounds all inputs of 8-bit layers for a block, each token's by itself.

    Otherwise all tokens of a batch decide which columns stay whole (Dettmers et al., 2022, arXiv:2208.07339, 3.2).
    """
    states = [module.state for module in causal.modules() if hasattr(module, "state")]
    before = [(state, state.threshold) for state in states if hasattr(state, "threshold")]
    for state, _ in before:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in before:
            state.threshold = threshold


def _require_causal(causal: Any) -> None:
    """Raises ``ModelError`` for an encoder: its attention sees the tokens that it should predict."""
    ids = some_tokens(causal, LONG, seed=0)
    changed = ids.clone()
    changed[0, -1] = (ids[0, -1] + 1) % causal.get_input_embeddings().weight.shape[0]
    one, other = (causal(input_ids=each, use_cache=False).logits[0, :-1] for each in (ids, changed))
    if not close(one, other, OTHER_WAY, causal.dtype):
        raise ModelError(
            f"{type(causal).__name__} predicts a token from those after it, as an encoder does; stages train decoders, "
            "which predict the next token"
        )


@torch.no_grad()
def require_padding(model: Any) -> None:
    """Raises ``ModelError`` where masked padding behind a row changes the row: rows of a batch would not be their own.

    ``model`` predicts tokens or rewards texts, and is in evaluation mode.
    """
    ids = some_tokens(model, LONG, seed=0)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None) or 0
    padded = torch.cat([ids, torch.full_like(ids[:, :SHORT], pad)], 1)
    mask = torch.ones_like(padded)
    mask[:, LONG:] = 0
    alone, within = _states(model, ids, torch.ones_like(ids)), _states(model, padded, mask)[:LONG]
    exact = model.dtype in (torch.float32, torch.float64)
    same = _same(within, alone, 1e-3 if exact else 1e-1)
    # In 16 bits, rounding sends a token to another expert now and then.
    if not same.float().mean() >= (1.0 if exact else 0.5):
        raise ModelError(
            f"{type(model).__name__} gives other outputs for a row when padding follows it, so rows of different "
            "lengths can't share a batch"
        )


@torch.no_grad()
def require_autocast(model: Any, dtype: torch.dtype) -> None:
    """Runs a few tokens under autocast to ``dtype``, as training does. Raises what the model raises.

    ``model`` predicts tokens or rewards texts. That it works is kept in the cache.
    """
    dtypes = [(name, str(parameter.dtype)) for name, parameter in model.named_parameters()]

    def run(folder: Path) -> None:
        training = model.training
        model.eval()
        try:
            ids = some_tokens(model, SHORT, seed=0)
            with torch.autocast(ids.device.type, dtype):
                _states(model, ids, torch.ones_like(ids))
        finally:
            model.train(training)
        files.write_json(folder / "autocast.json", True)

    cache.entry("behaviour", files.sha256([model_key(model), dtypes, str(dtype)]), run)


@contextmanager
def dtype_errors_named(model: Any, precision: str) -> Iterator[None]:
    """Turns an error of a block in which a model meets dtypes that it can't compute with into a ``ModelError``.

    ``precision``: one under which weights and arithmetic have different dtypes.
    """
    try:
        yield
    except RuntimeError as error:
        if not DTYPE_ERROR.search(str(error)):  # out of memory, for instance
            raise
        what = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise ModelError(
            f"{type(model).__name__} can't compute with precision: {precision}, which has weights and arithmetic in "
            f"different dtypes ({what}); use precision: pure_bf16 or fp32, which have one"
        ) from error


def _states(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """Hidden states or, of a model that is its own base, logits of one row, in 32 bits: (tokens, width)."""
    output = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    states: Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits
    return states[0].float()


def _head_gives_logits(causal: Any) -> bool:
    ids = some_tokens(causal, LONG, seed=0)
    own = causal(input_ids=ids, use_cache=False).logits[0].float()
    hidden = getattr(causal.base_model(input_ids=ids, use_cache=False), "last_hidden_state", None)
    if hidden is None:  # its base model is the model itself
        return False
    try:
        return close(head_logits(causal, hidden[0]), own, OTHER_WAY, causal.dtype)
    except RuntimeError:  # of another dtype or width than the head takes
        return False


def _rows_can_share(causal: Any) -> bool:
    first, other, second = (
        some_tokens(causal, count, seed) for seed, count in enumerate((SHORT, SHORT, LONG), start=1)
    )
    positions = torch.cat([torch.arange(SHORT), torch.arange(LONG)])[None].to(first.device)
    apart = {"position_ids": positions, "use_cache": False}
    if is_flash(causal.config._attn_implementation):
        apart |= flash_boundaries([SHORT, LONG], first.device)
    try:
        behind_first, behind_other = (
            causal(input_ids=torch.cat([ids, second], 1), **apart).logits[0, SHORT:] for ids in (first, other)
        )
    except TypeError:  # a model without positions, or without these arguments
        return False
    alone = causal(input_ids=second, use_cache=False).logits[0]
    # What stands before the second row must not matter; that shows small influences that 16 bits would hide in the
    # comparison with the row alone, which shows whether its positions begin anew.
    return close(behind_first, behind_other, SAME_WAY, causal.dtype) and close(
        behind_first, alone, OTHER_WAY, causal.dtype
    )


def close(one: Tensor, other: Tensor, tolerances: tuple[float, float], dtype: torch.dtype) -> bool:
    """Whether the two (positions, vocab) are equal at every position, within the tolerance for 32 or 16 bits."""
    if one.shape != other.shape:
        return False
    tolerance = tolerances[0] if dtype in (torch.float32, torch.float64) else tolerances[1]
    return bool(_same(one.float(), other.float(), tolerance).all())


def _same(one: Tensor, other: Tensor, tolerance: float) -> Tensor:
    """Whether two (positions, width) differ by at most that share of the other's norm: (positions,).

    Positions at which neither is finite tell nothing and count as equal: such a model's trial fails by its loss, which
    says more.
    """
    nothing = ~(one.isfinite().all(dim=-1) | other.isfinite().all(dim=-1))
    return ((one - other).norm(dim=-1) <= tolerance * other.norm(dim=-1)) | nothing


def some_tokens(causal: Any, count: int, seed: int) -> Tensor:
    """Random tokens, by a generator of their own: (1, count)."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = causal.get_input_embeddings().weight.shape[0]
    return torch.randint(vocabulary, (1, count), generator=generator).to(causal.device)
