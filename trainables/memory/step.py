"""The memory of one training step, tensor by tensor: what is held all along, and the moments when more is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from trainables.memory.byte_widths import Widths, widths
from trainables.memory.data_parallel import Together
from trainables.models.decoder_shape import Shape

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.methods.footprint import Footprint
from trainables.stages.forward_pass import Batch, WholeLogits

CHUNK = {"cpu": 64, "cuda": 256}  # labelled tokens whose logits exist at a time


ENTROPY_ROWS = 128  # tokens whose entropy TRL computes at a time


OTHER = {"cpu": 8 * 2**20, "cuda": 0}  # rows, masks, rotary tables


STATES = {
    "adamw": 8.0, "paged_adamw": 8.0, "adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "sgd": 0.0, "adafactor": 0.01,
}  # bytes a trained weight: AdamW's two moments in fp32, or in 8 bits with a scale of 4 bytes each 256  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """Bytes at the highest moment of a step, by what they are for."""

    weights: int  # as they are held, adapters too
    gradients: int
    optimizer: int
    activations: int
    logits: int
    quantization: int = 0  # what goes with quantized weights: scales, zeros, code books
    reference: int = 0  # kept weights of the policy before training, and what it takes while it answers
    value: int = 0  # a value head, with its gradients and states
    reward: int = 0  # a reward model, or a reward adapter on the policy's base
    gathered: int = (
        0  # weights that workers share, for as long as they are whole, and what gradients are sent from
    )
    other: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Step:
    train: TrainConfig
    shape: Shape
    taken: Footprint
    batch: Batch
    device: str
    attention: str
    dtype: str
    workers: int = 1

    @property
    def bytes(self) -> Widths:
        return widths(self.train.precision, self.dtype)

    @property
    def together(self) -> Together:
        shared = self.train.sharding == "fsdp" and self.workers > 1
        # Where answers are sampled, gradients are sent from where they are.
        workers = 1 if self.batch.round is not None else self.workers
        return Together(workers, shared, self.shape, self.taken, self.bytes)

    def moments(self) -> list[Prediction]:
        """The head's backward pass, each layer's, the embedding's, and the optimizer's step."""
        if self.batch.logits is not None:
            head = self._at_whole_logits(self.batch.logits)
        else:
            head = [self._at_head()] if self.batch.labels else [self.moment(0, self.kept(), 0)]
        return [*head, *self._at_layers(), *self._at_end()]

    # What is there all the time

    def weights(self) -> int:
        shape, taken, wide = self.shape, self.taken, self.bytes
        linear = shape.layers * shape.linear_params
        trained_linear = taken.trained_layers * shape.linear_params
        trained = taken.trained_params(shape) - taken.adapter_params(shape)
        frozen_small = shape.params - linear - (trained - trained_linear)
        frozen_linear = (linear - trained_linear) * (taken.linear_bytes or wide.frozen)
        return int(
            frozen_small * wide.frozen
            + frozen_linear
            + (trained + taken.adapter_params(shape)) * wide.trainable
        )

    def quantization(self) -> int:
        frozen = (self.shape.layers - self.taken.trained_layers) * self.shape.linear_params
        return int(frozen * self.taken.constant_bytes)

    def gradients(self) -> int:
        return self.taken.trained_params(self.shape) * self.bytes.trainable

    def optimizer(self) -> int:
        scale = self.bytes.trainable / 4 if STATES[self.train.optimizer] == 8.0 else 1
        return int(self.taken.trained_params(self.shape) * STATES[self.train.optimizer] * scale)

    # What autograd keeps

    def layer(self, trains: bool) -> int:
        """Of one decoder layer that gradients go through; ``trains``: to weights of its own, too."""
        shape, tokens, wide = self.shape, self.batch.all, self.bytes
        c, h, i = wide.compute, shape.hidden, shape.intermediate
        residual = self.residual()
        normed = 4 * h + 4  # the norm's input in fp32, and one number a token
        # Where a norm trains, what it is multiplied with is kept in the residual's type.
        normed += residual * h if trains else 0
        adapted = self.taken.adapted
        kept = shape.norms * normed
        if trains:
            # A norm's output is in the type of its weights; where that isn't the arithmetic's, each product casts anew.
            casts = wide.trainable != c
            inputs = (
                (3 if casts else 1) * h
                + shape.heads * shape.head_dim * self._own_output()
                + (2 if casts else 1) * h
            )
            kept += c * (inputs + i)
        else:
            kept += c * h * bool(adapted & {"q_proj", "k_proj", "v_proj"})
            kept += c * shape.heads * shape.head_dim * self._own_output() * ("o_proj" in adapted)
            kept += c * h * bool(adapted & {"gate_proj", "up_proj"}) + c * i * ("down_proj" in adapted)
        kept += c * 3 * i  # of the gate: its input and output, and what it is multiplied with
        kept += c * self.taken.rank * len(adapted)
        kept += self._attention()
        copied = c if wide.trainable != c else 0
        own = copied * (shape.linear_params if trains else self.taken.adapter_params(shape) // shape.layers)
        return int(tokens * kept + own)

    def _own_output(self) -> int:
        """Whether the attention's result is copied before it is projected."""
        return 1 if self.attention == "eager" else 0

    def _attention(self) -> int:
        """Per token: queries, keys and values; eager the matrix too, in fp32 and in the arithmetic's type."""
        shape, c = self.shape, self.bytes.compute
        wide, narrow = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        if self.attention == "eager":
            matrix = shape.heads * self.batch.tokens * (4 + (c if c != 4 else 0))
            return 3 * c * wide + matrix
        return c * (2 * wide + 2 * narrow) + 4 * shape.heads

    def residual(self) -> int:
        """Bytes of a number between layers: the embedding's type."""
        return self.bytes.trainable if self.taken.embedding else self.bytes.frozen

    def _reached(self) -> int:
        """The layers that gradients go through."""
        return self.taken.reached(self.shape)

    def kept(self) -> int:
        """All that is kept until the backward pass begins, the last norm's included."""
        trained = self.taken.trained_layers
        last = (
            self.batch.all * self.shape.hidden * (4 + (4 if self.taken.last_norm else 0) + self.bytes.compute)
        )
        if not self._reached():
            return last
        if self.train.gradient_checkpointing:
            inputs = self.batch.all * self.shape.hidden * self.residual() * self.shape.layers
            return last + inputs + self._reached() * self._kept_in_spite()
        return last + trained * self.layer(True) + (self._reached() - trained) * self.layer(False)

    def _kept_in_spite(self) -> int:
        """Of one layer, what checkpointing doesn't let go: inputs that 8-bit products hold outside autograd."""
        if not self.taken.holds_inputs:
            return 0
        h, i, wide = self.shape.hidden, self.shape.intermediate, self.shape.heads * self.shape.head_dim
        return self.batch.all * self.bytes.compute * (2 * h + wide + i)

    # Moments

    def moment(
        self, gradients: float, activations: float, logits: float, reference: float = 0, sent: float = 0
    ) -> Prediction:
        every, together = self.gradients(), self.together
        accumulated = together.held(every) if self.train.gradient_accumulation > 1 else 0
        return Prediction(
            weights=int(together.held(self.weights())),
            gradients=int(max(together.gradients(gradients, every), accumulated)),
            optimizer=int(together.held(self.optimizer())),
            activations=int(activations),
            logits=int(logits),
            quantization=self.quantization(),
            reference=int(reference),
            gathered=int(together.put_together(backward=gradients > 0) + sent),
            other=int(OTHER[self.device] + self._still_mapped()),
        )

    def _still_mapped(self) -> int:
        """On a CPU, weights that were copied to train in fp32 stay resident in the mapped file, too."""
        shape, taken, wide = self.shape, self.taken, self.bytes
        own = taken.trained_params(shape) - taken.adapter_params(shape)
        loaded_to_train = taken.trained_layers == shape.layers and taken.embedding
        gone = loaded_to_train or self.together.shared  # of what is shared, nothing stays where it was loaded
        if self.device != "cpu" or gone or wide.trainable == wide.frozen:
            return 0
        return own * wide.frozen

    def casts(self) -> int:
        """Copies of the layers' trained weights in the arithmetic's type, which autocast keeps in the forward pass."""
        if not self.bytes.autocast:
            return 0
        trained = self.taken.trained_layers * self.shape.linear_params + self.taken.adapter_params(self.shape)
        return self.bytes.compute * trained

    def head_cast(self) -> int:
        """The same of the head, where it trains."""
        casts = self.taken.head and self.bytes.autocast
        return self.bytes.compute * self.shape.embedding_params if casts else 0

    def _at_whole_logits(self, logits: WholeLogits) -> list[Prediction]:
        """While the loss is computed, while its gradient is, and while the head's weights' is."""
        each = self.batch.labels * self.shape.vocab
        cast, casts = self.head_cast(), self.casts() if self.train.gradient_checkpointing else 0
        kept = logits.kept * each + cast
        entropy = 3 * 4 * min(ENTROPY_ROWS, self.batch.all) * self.shape.vocab * logits.entropy
        forward, answered = kept + logits.forward * each + entropy, logits.reference * each
        found = [self.moment(0, self.kept(), kept + logits.backward * each)]
        if logits.cast is None:
            found.append(self.moment(0, self.kept() + casts, forward, answered))
        else:
            found.append(self.moment(0, self.kept() + casts, cast + logits.cast * each))
            found.append(self.moment(0, self.kept(), forward, answered))
        return [*found, *(self._at_heads_gradient(each) if self.taken.head else [])]

    def _at_heads_gradient(self, each: int) -> list[Prediction]:
        """It comes in the arithmetic's type, beside that of ``each`` logit, and is then cast to the weights'."""
        wide, head = self.bytes, self.shape.embedding_params
        first, beside = wide.compute * head, wide.compute * each
        if not wide.autocast:
            return [self.moment(first, self.kept(), beside)]
        return [
            self.moment(0, self.kept(), self.head_cast() + beside + first),
            self.moment(wide.trainable * head, self.kept(), first),
        ]

    def _at_head(self) -> Prediction:
        shape, wide = self.shape, self.bytes
        head, chunk = shape.embedding_params, min(CHUNK[self.device], self.batch.labels)
        # Without checkpointing they are counted where they are kept for the backward pass.
        casts = self.casts() if self.train.gradient_checkpointing else 0
        block = chunk * shape.vocab
        cast = wide.compute * head if wide.autocast else 0
        if self.taken.head:
            # The gradient comes in the arithmetic's type, then in the weights', beside what came before.
            made = cast + (wide.compute if wide.autocast else 0) * head + wide.trainable * head
            return self.moment(wide.trainable * head, self.kept(), made)  # after the forward pass
        spelled_out = (4 * head if wide.frozen != 4 else 0) + cast
        made = max(spelled_out + wide.compute * block, (4 * head if wide.frozen != 4 else 0) + 16 * block)
        return self.moment(0, self.kept() + casts, made)

    def _at_layers(self) -> list[Prediction]:
        """Each layer's backward pass, from the last on, as it begins and as it ends: its gradients grow while what was
        kept for them goes.
        """
        shape, found = self.shape, []
        kept = float(self.kept())
        # The head comes first, where there is one.
        done = float(
            self.bytes.trainable * shape.embedding_params * (self.taken.head and self.batch.labels > 0)
        )
        own = self.bytes.trainable * self.taken.adapter_params(shape) / shape.layers
        transient = self.batch.all * self.bytes.compute * (shape.intermediate + shape.hidden)
        waiting = self.together.waiting()
        for number in range(self._reached()):
            trains = self.taken.trains_layer(shape, shape.layers - 1 - number)
            again = self.layer(trains) if self.train.gradient_checkpointing else 0
            found.append(self.moment(done, kept + again + transient, 0, sent=waiting))
            done += own + (self.bytes.trainable * shape.layer_params if trains else 0)
            kept -= kept / (self._reached() - number)
            found.append(self.moment(done, kept + transient, 0, sent=waiting))
        return found

    def _at_end(self) -> list[Prediction]:
        """The embedding's gradient is as large as itself, and is added to what the head's was; then it is sent."""
        dense = self.bytes.trainable * self.shape.embedding_params if self.taken.embedding else 0
        every, waiting = self.gradients(), 2 * self.together.waiting()
        sent = waiting + self.together.sent_at_the_end()
        return [self.moment(every, dense, 0, sent=waiting), self.moment(every, 0, 0, sent=sent)]
