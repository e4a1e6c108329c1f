"""TRL's SFT trainer without its statistics of each step.

Checked with TRL 1.16.0 and transformers 5.24.0.
"""

from __future__ import annotations

from typing import Any, ClassVar

from trl import SFTTrainer

from trainables.stages.step_loss import share_of_step


class TokenLossTrainer(SFTTrainer):
    """The mean loss of a step's labelled tokens, and nothing besides."""

    # Of TRL's fused head, see ``training.fused_head``.
    head_outputs: ClassVar[tuple[str, ...]] = ("log_probs",)
    weighs_tokens_alike: ClassVar[bool] = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's, which also reads entropy, accuracy and the number of tokens: a GPU would be waited for before each
        backward pass, for numbers that no curve has.
        """
        inputs = {**inputs, "use_cache": False, "fused_lm_head": True}
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        outputs = model(**inputs)
        summed, labelled = -outputs.log_probs.sum(), outputs.label_mask.sum()
        loss = share_of_step(self, summed, labelled, num_items_in_batch)
        if self.aux_loss_enabled:
            # A mean of this batch; what is counted is of all batches of the step.
            counted = num_items_in_batch is not None
            batches = self.current_gradient_accumulation_steps if counted else 1
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / batches
        return (loss, outputs) if return_outputs else loss
