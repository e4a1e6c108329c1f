"""Downloads an artifact of Weights & Biases: weights as safetensors, configs, tokenizers, and code, which runs
only if a spec allows it; never pickles, and nothing that the artifact only refers to.

python -m trainables.models.wandb_download ENTITY/PROJECT/ARTIFACT:VERSION FOLDER
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from trainables.models.hub import DOWNLOADED
from trainables.storage.names import is_safe


def download(name: str, folder: Path) -> None:
    """Writes the files of a model to ``folder``. Raises ``ValueError`` where the artifact has none."""
    import wandb

    artifact = wandb.Api().artifact(name)
    # A reference has W&B read any address or file, with the user's own rights.
    wanted = [
        path for path, entry in artifact.manifest.entries.items() if entry.ref is None and _is_wanted(path)
    ]
    if not wanted:
        raise ValueError(f"{name} holds no file of a model ({', '.join(DOWNLOADED)})")
    for path in wanted:
        artifact.get_entry(path).download(root=str(folder), skip_cache=True)


def _is_wanted(path: str) -> bool:
    return is_safe(path) and any(fnmatch(PurePosixPath(path).name, pattern) for pattern in DOWNLOADED)


def main() -> int:
    """The exit code; an error is a line on standard error, as the caller shows it to the user."""
    try:
        download(sys.argv[1], Path(sys.argv[2]))
    # Whatever breaks a download (name, permission, network, disk) is a message to the user, not a stack trace.
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
