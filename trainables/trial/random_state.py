"""The state of the generators of random numbers that libraries draw from: Python's, NumPy's and torch's."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class RandomState:
    """The state of all generators at one moment; equal states give equal numbers.

    ``gpu``: the generator of this process's GPU, ``None`` without one.
    """

    python: bytes
    numpy: bytes
    cpu: bytes
    gpu: bytes | None

    @classmethod
    def now(cls) -> RandomState:
        gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(
            pickle.dumps(random.getstate()),
            pickle.dumps(np.random.get_state()),
            torch.get_rng_state().numpy().tobytes(),
            None if gpu is None else gpu.numpy().tobytes(),
        )

    def restore(self) -> None:
        """Sets all generators to this state."""
        random.setstate(pickle.loads(self.python))
        np.random.set_state(pickle.loads(self.numpy))
        torch.set_rng_state(_tensor(self.cpu))
        if self.gpu is not None:
            torch.cuda.set_rng_state(_tensor(self.gpu))


def _tensor(state: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)
