"""An export on the Hugging Face hub: only ever where somebody has asked for it by name."""

from __future__ import annotations

from pathlib import Path

from trainables.export.output_folder import ExportFailed
from trainables.models.folder import ModelError

LOGIN = "--push needs a token that may write: `hf auth login`, or HF_TOKEN"


def check_repository(repository: str) -> None:
    """Raises ``ModelError`` for an id that can't be, or where there is no token; asks no network."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ModelError(f"--push {repository}: {error}") from None
    if "/" not in repository:
        raise ModelError(f"--push {repository}: give ORG/NAME")
    if get_token() is None:
        raise ModelError(LOGIN)


def upload(folder: Path, repository: str, public: bool) -> str:
    """Uploads the folder, and gives its address. A repository that isn't there is made, a private one by default.

    Raises ``ExportFailed``, also for a repository that everybody can see where ``public`` isn't said.
    """
    import huggingface_hub

    try:
        huggingface_hub.create_repo(repository, private=not public, exist_ok=True)
        if not public and not huggingface_hub.repo_info(repository).private:
            raise ExportFailed(
                f"{repository} is public, and nothing was uploaded: give --public, or another name. {folder} is whole"
            )
        done = huggingface_hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Exported by Paretune"
        )
    # Whatever breaks an upload (rights, network, the hub) is for the user to read, not to trace.
    except ExportFailed:
        raise
    except Exception as error:
        raise ExportFailed(
            f"uploading to {repository} failed: {error}\n"
            f"{folder} is whole; `hf upload {repository} {folder}` tries again"
        ) from error
    return str(getattr(done, "repo_url", None) or f"https://huggingface.co/{repository}")
