"""Where an error was raised, in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

PACKAGES = Path(__file__).parents[2]  # the folder that holds ours


def describe(error: BaseException) -> str:
    """The error's type, message and place: the innermost line of Paretune's own code that led to it, if there is one.

    >>> describe(KeyError("a"))
    "KeyError: 'a'"
    """
    text = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(Path(frame.filename))]
    if not frames:
        return what
    frame = (own or frames)[-1]
    return f"{what} ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"


def _is_own(file: Path) -> bool:
    # A virtual environment may lie beside the packages, or the packages in one.
    below = file.relative_to(PACKAGES).parts if file.is_relative_to(PACKAGES) else ()
    return below[:1] in (("trainables",), ("sweeps",))
