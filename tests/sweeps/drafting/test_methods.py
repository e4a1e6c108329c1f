"""Which methods are proposed in the memory that there is."""

from __future__ import annotations

import pytest

from sweeps.drafting.budget import Budget, choose_batch, choose_budget, usual_share
from sweeps.drafting.method_lines import memory_choice
from sweeps.drafting.methods import FEWEST, Memory, choose_methods, fitting_names, memory_here
from sweeps.drafting.row_facts import RowFacts
from sweeps.planning.memory import method_grid
from trainables.system import machine
from trainables.system.byte_sizes import GIB


def chosen(model: str, gib: float, device: str = "cuda", batch: int = 8, tokens: int = 512):  # type: ignore[no-untyped-def]
    return choose_methods(model, {"kind": "sft"}, batch, tokens, Memory(device, int(gib * GIB)))


def test_all_methods_are_compared_where_all_fit() -> None:
    found = chosen("qwen3-0.6b", 80)
    assert (found.methods, found.batch_size, found.checkpointing) == (("full", "lora", "qlora"), 8, False)


def test_full_fine_tuning_is_left_out_where_its_states_do_not_fit_and_the_reason_is_said() -> None:
    found = chosen("qwen3-8b", 24)
    assert (found.methods, found.checkpointing) == (("lora", "qlora"), True)
    assert found.left_out.keys() == {"full"}
    assert found.left_out["full"].endswith("and the GPU has 24 GiB")


def test_predictions_are_those_of_the_grid() -> None:
    found = chosen("qwen3-8b", 24)
    rows = method_grid.grid_rows("qwen3-8b", 8, 512)
    full = next(row for row in rows if row.method == "full" and row.checkpointing)
    assert found.peaks["full"] == full.predicted.peak_bytes


def test_batches_are_halved_until_two_methods_fit_and_a_step_keeps_its_rows() -> None:
    found = chosen("qwen3-14b", 36, tokens=2048)
    assert len(found.methods) == FEWEST
    assert found.batch_size < 8
    assert found.batch_size * found.gradient_accumulation == 8


def test_a_spec_does_not_depend_on_what_others_use_of_the_memory_at_the_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "gpu_memory_bytes", list)
    monkeypatch.setattr(machine, "usable_memory_bytes", lambda: 17 * GIB)
    seen = []
    for free in (16 * GIB, 2 * GIB):
        monkeypatch.setattr(machine, "available_memory_bytes", lambda free=free: free)
        memory = memory_here()
        choice = choose_methods("qwen3-0.6b", {"kind": "sft"}, 8, 128, memory)
        seen.append((choice.methods, choice.peaks, memory_choice(choice, memory)))
    (methods, peaks, enough), (same_methods, same_peaks, short) = seen
    assert (methods, peaks) == (same_methods, same_peaks)
    assert "full" in methods
    assert "fit in 16 GiB of main memory" in enough
    assert "are free now" not in enough
    assert "only 1 GiB are free now" in short


def test_where_nothing_fits_the_smallest_is_proposed() -> None:
    found = chosen("llama-3.1-70b", 8)
    assert found.methods == ()
    assert fitting_names(found) == ("qlora",)


def test_the_memory_of_an_unknown_model_is_unknown_and_all_methods_are_proposed() -> None:
    found = chosen("hf:no-such/model", 24)
    assert found.unknown is not None
    assert fitting_names(found) == ("full", "lora", "qlora")


@pytest.mark.parametrize(("rows", "share"), [(40, 0.3), (100, 0.3), (320, 0.25), (5000, 0.1)])
def test_small_data_holds_out_a_larger_share(rows: int, share: float) -> None:
    assert budget(rows).eval_fraction == share


def budget(rows: int, device: str = "cpu", longest: int = 50) -> Budget:
    import numpy as np

    facts = RowFacts(rows, rows, np.array([10, longest]), False)
    return choose_budget(facts, device, 8, usual_share(rows))


def test_the_cutoff_holds_the_longest_row_up_to_a_limit() -> None:
    assert [budget(100, longest=tokens).cutoff for tokens in (20, 64, 65, 5000)] == [64, 64, 128, 2048]


def test_more_time_is_planned_for_gpus_and_for_more_rows() -> None:
    assert budget(100).steps < budget(300).steps <= budget(100_000).steps < budget(100_000, "cuda").steps
    assert budget(100_000).eval_rows == 100
    assert budget(100).eval_rows is None


def test_steps_of_long_rows_are_smaller_on_a_cpu() -> None:
    import numpy as np

    def batch(length: int, device: str = "cpu", least: int = 1) -> int:
        return choose_batch(RowFacts(100, 100, np.array([length]), False), device, least)

    assert [batch(length) for length in (50, 500, 1000, 5000)] == [8, 4, 2, 1]
    assert (batch(5000, "cuda"), batch(5000, least=2)) == (8, 2)


def test_a_budget_for_less_time_has_fewer_steps_then_fewer_seeds_and_trials() -> None:
    whole = Budget(0.3, None, 64, steps=60, trials=4, seeds=2)
    assert whole.scaled(0.5) == Budget(0.3, None, 64, steps=30, trials=4, seeds=2)
    assert whole.scaled(0.2) == Budget(0.3, None, 64, steps=20, trials=3, seeds=1)
    assert whole.scaled(0.0) == Budget(0.3, None, 64, steps=20, trials=2, seeds=1)
    assert whole.scaled(0.5, fixed_steps=True).steps == 60
