"""How much exists at a time while a head's loss is computed; without torch, as memory is predicted so."""

from __future__ import annotations

# On a GPU, labelled tokens and entries of the vocabulary whose logits exist at a time: TRL's own.
GPU_TILE = (4096, 32768)
# On a CPU, bytes of the logits that exist at a time, of some tokens and the whole vocabulary.
CPU_LOGIT_BYTES = 2**26
# On a CPU, numbers of the head's weight or gradient that are cast at a time.
CAST_PIECE = 2**22
# On a CPU, logits that are turned into probabilities at a time: 1 MiB in 32 bits, which a core's cache holds.
BLOCK = 2**18


def cpu_chunk_tokens(labels: int, vocabulary: int, width: int) -> int:
    """How many of ``labels`` tokens have their logits at a time on a CPU, ``width`` bytes each.

    >>> cpu_chunk_tokens(1000, vocabulary=2**16, width=4)
    256
    """
    return max(1, min(labels, CPU_LOGIT_BYTES // (width * vocabulary)))
