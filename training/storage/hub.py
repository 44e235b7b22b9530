"""Where an explorer lies: in a folder here, at an address, or in a repository of the Hugging Face hub."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from expedition import UserError
from training.storage.exported import check_exported
from training.storage.folder import RECORD, is_exported
from training.storage.shared import fetched, is_address, remember

SCHEME = "hf:"
READ = ("*.safetensors", "*.json")
"""All that is ever fetched: tensors and JSON, which cannot run code."""
INSTALL = "pip install 'expedition[hub]'"
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def located(source: Path | str) -> Path:
    """Return the folder of a run or of an exported explorer, which is checked; from elsewhere it is fetched.

    Args:
        source: a folder, an fsspec URL (`s3://bucket/run`), or `hf:OWNER/NAME` with `@REVISION` (a branch,
            tag or commit) where it is not main.

    Raises:
        UserError: none there, the hub or address cannot be reached, or an exported one was changed.
    """
    told = str(source)
    if is_address(told):
        folder = fetched(told)
    else:
        folder = _fetched(told) if told.startswith(SCHEME) else Path(source)
    if is_exported(folder):
        check_exported(folder)
    return folder


@functools.cache  # one process meets one commit, however often it asks
def _fetched(source: str) -> Path:
    """Fetch what an explorer consists of into the hub's cache, and return the folder there."""
    found = _NAME.fullmatch(source.removeprefix(SCHEME))
    if found is None:
        raise UserError(f"'{source}' names no repository: write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION.")
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise UserError(
            f"'{source}' lies on the Hugging Face hub, which needs a package: {INSTALL}."
        ) from error
    repository, revision = found["repository"], found["revision"]
    try:
        _check_repository(repository, revision)
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(READ)))
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"The repository '{repository}' of the hub has no revision '{revision}': name a branch, a tag or "
            "a commit of it, or none for main."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"The hub shows no repository '{repository}': check its name, and if it is private or asks for "
            "consent, log in with `hf auth login`."
        ) from error
    except errors.HFValidationError as error:
        raise UserError(f"The hub cannot have a repository '{repository}': check its name.") from error
    except (OSError, errors.HTTPError) as error:
        raise UserError(
            f"'{source}' cannot be fetched from the hub ({_reason(error)}), and no whole copy is in its "
            "cache: try again when the hub can be reached."
        ) from error
    remember(folder, f"{SCHEME}{repository}@{folder.name}")  # a snapshot's folder is named after its commit
    return folder


def _check_repository(repository: str, revision: str | None) -> None:
    """Refuse a repository that holds no exported explorer before anything is fetched.

    Those of others may hold a hundred gigabytes of tensors. A hub that does not answer is asked again by what
    fetches, which knows the cache.
    """
    from huggingface_hub import HfApi, errors

    try:
        found = HfApi().model_info(repository, revision=revision)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except (errors.OfflineModeIsEnabled, errors.HTTPError):
        return
    if RECORD not in [file.rfilename for file in found.siblings or ()]:
        raise UserError(
            f"The repository '{repository}' of the hub holds no {RECORD}: name one that holds a folder that "
            "`expedition export` has written."
        )


def _reason(error: BaseException) -> str:
    """The innermost error's first line: those around it explain the hub's own flags."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
