"""The script of TRL's documentation: what a trial's speed and losses are compared with."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trainables.config.data import DataConfig
from trainables.data import loading


@dataclass(frozen=True)
class PlainScript:
    """A model, a LoRA or none, ``SFTTrainer`` on prompt and completion; the same settings as the trial beside it.

    ``method``: full, lora, or qlora (4 bits by bitsandbytes). ``device``: cpu or cuda. ``precision``: bf16 or fp32.
    """

    folder: Path
    data: DataConfig
    method: str
    steps: int
    batch_size: int
    learning_rate: float
    device: str = "cpu"
    rank: int = 8
    precision: str = "bf16"

    def tokens_per_second(self) -> float:
        """Trains; the tokens without padding by the seconds from the first step's start to the last one's end."""
        tokens, clock = self.train()
        return tokens / clock.seconds

    def train(self) -> tuple[int, Clock]:
        """Trains; the tokens without padding, and the time that the steps took."""
        clock = Clock()
        with tempfile.TemporaryDirectory() as output:
            trainer = self._trainer(output, [clock])
            trainer.train()
        return trainer.state.num_input_tokens_seen, clock

    def validation_loss(self, adapter: Path) -> float:
        """Trains, saves the adapter, and returns the loss on the validation rows."""
        with tempfile.TemporaryDirectory() as output:
            trainer = self._trainer(output)
            trainer.train()
        trainer.save_model(str(adapter))
        return float(trainer.evaluate()["eval_loss"])

    def _trainer(self, output: str, callbacks: Sequence[Any] = ()) -> Any:
        from transformers import AutoTokenizer
        from trl import SFTTrainer

        data = loading.load(self.data)
        return SFTTrainer(
            model=self._model(),
            args=self._settings(output),
            train_dataset=_dataset(data.train),
            eval_dataset=_dataset(data.validation) if data.validation else None,
            processing_class=AutoTokenizer.from_pretrained(self.folder),
            callbacks=list(callbacks),
        )

    def _model(self) -> Any:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        in_32_bits = self.method == "full" or self.precision == "fp32"
        options: dict[str, Any] = {"dtype": "float32" if in_32_bits else "bfloat16"}
        if self.device == "cuda":
            options["device_map"] = {"": 0}
        if self.method == "qlora":
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.float32 if in_32_bits else torch.bfloat16,
            )
        model: Any = AutoModelForCausalLM.from_pretrained(self.folder, **options)
        if self.method == "full":
            return model
        adapter = LoraConfig(
            r=self.rank, lora_alpha=2 * self.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        return get_peft_model(model, adapter)

    def _settings(self, output: str) -> Any:
        from trl import SFTConfig

        return SFTConfig(
            output_dir=output,
            max_steps=self.steps,
            per_device_train_batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            max_length=self.data.cutoff,
            bf16=self.precision == "bf16",
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=self.device == "cpu",
            data_seed=0,
            seed=0,
            include_num_input_tokens_seen="non_padding",
            disable_tqdm=True,
        )


def _dataset(rows: Sequence[Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {"prompt": list(row.prompt), "completion": [{"role": "assistant", "content": row.answer}]}
            for row in rows
        ]
    )


class Clock(TrainerCallback):
    """Takes the time from the first step's start to the last one's end; of one trainer at a time."""

    def __init__(self) -> None:
        self.began: tuple[float, float] | None = None
        self.seconds = self.processor_seconds = 0.0  # the latter of all threads of this process

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = self.began or (time.perf_counter(), time.process_time())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        assert self.began is not None
        self.seconds = time.perf_counter() - self.began[0]
        self.processor_seconds = time.process_time() - self.began[1]
