"""Paged memory: the state of bitsandbytes' paged optimizers, which the GPU's driver moves to the machine's and back."""

from __future__ import annotations

import ctypes
import sys

import torch

# References to a tensor that nothing but bitsandbytes' list holds: the list's, the loop's, and the counting call's.
UNUSED = 3


def free_paged_memory() -> int:
    """Frees the paged state of optimizers that are gone, and returns its bytes. Call it after garbage collection.

    bitsandbytes (0.50) takes that memory by ``cudaMallocManaged``, keeps it in a list for the whole process, and has
    nothing that frees it. State that something else still holds is kept. Not verified on a GPU.
    """
    functional = sys.modules.get("bitsandbytes.functional")
    if functional is None:
        return 0
    manager = functional.GlobalPageManager.get_instance()
    unused = [tensor for tensor in manager.paged_tensors if sys.getrefcount(tensor) <= UNUSED]
    if not unused:
        return 0
    torch.cuda.synchronize()
    gone = {tensor.data_ptr(): tensor.nbytes for tensor in unused}
    manager.paged_tensors = [t for t in manager.paged_tensors if t.data_ptr() not in gone]
    del unused
    for address in gone:
        # Of the CUDA runtime that bitsandbytes' own library is linked to.
        functional.lib._lib.cudaFree(ctypes.c_void_p(address))
    return sum(gone.values())
