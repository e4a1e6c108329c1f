"""Uploading an export to the Hugging Face hub, which happens only with ``--push ORG/NAME``."""

from __future__ import annotations

from pathlib import Path

from trainables.export.output_folder import ExportFailed
from trainables.models.folder import ModelError

LOGIN = "--push needs a token with write access: run `hf auth login`, or set HF_TOKEN"


def check_repository(repository: str) -> None:
    """Raises ``ModelError`` for an invalid repository id, or without a token; makes no network request."""
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
    """Uploads the folder and returns its URL. Creates a missing repository, which is private unless ``public``.

    Raises ``ExportFailed`` if the upload fails, and for an existing public repository without ``public``.
    """
    import huggingface_hub

    try:
        huggingface_hub.create_repo(repository, private=not public, exist_ok=True)
        # `private` has no effect on a repository that exists already.
        if not public and not huggingface_hub.repo_info(repository).private:
            raise ExportFailed(
                f"{repository} is public, and nothing was uploaded: give --public, or another name. "
                f"{folder} is complete"
            )
        commit = huggingface_hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Exported by Paretune"
        )
    except ExportFailed:
        raise
    # Permissions, network, the hub itself: the user needs the message, not a stack trace.
    except Exception as error:
        raise ExportFailed(
            f"uploading to {repository} failed: {error}\n"
            f"{folder} is complete; `hf upload {repository} {folder}` uploads it"
        ) from error
    return str(getattr(commit, "repo_url", None) or f"https://huggingface.co/{repository}")
