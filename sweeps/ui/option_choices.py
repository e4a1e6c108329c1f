"""The values of options that take one of a few, for the menus of forms.

The commands check them; a test compares these with what they accept, which is known to modules that import torch.
"""

from __future__ import annotations

CHOICES: dict[str, tuple[str, ...]] = {
    "part": ("test", "validation"),
    "kind": ("answers", "pairs", "text", "labels", "prompts", "classes"),
    "dtype": ("bfloat16", "float16", "float32"),
    "gguf": ("f16", "bf16", "q8_0"),
    "trust": ("remote_code", "pickle", "method_code"),
}
