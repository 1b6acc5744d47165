"""Uploads a dataset folder, as `pebench build` writes it, to the Hugging Face Hub."""

import os
import re
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

REPO = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
PARTS = ("README.md", "croissant.json", "data/*.parquet")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class PublishError(ValueError):
    """Something that an upload needs is missing, or the Hub refused it; says what."""


def check_folder(folder: Path) -> None:
    """PublishError where the folder is not what `pebench build` writes."""
    for part in PARTS:
        if not any(folder.glob(part)):
            raise PublishError(f"{folder} has no {part}; write it with `pebench build --out {folder}`")


def push(repo: str, folder: Path, message: str, api: HfApi | None = None, private: bool = False) -> str:
    """Upload the folder to the dataset repository `owner/name`, made if it is missing; the commit's URL.

    PublishError names what is missing: the folder's files, a network, a token, the right to write.
    """
    if not REPO.fullmatch(repo):
        raise PublishError(f"{repo!r} is no repository; write owner/name")
    check_folder(folder)
    if any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE):
        raise PublishError("offline mode is set (HF_HUB_OFFLINE); unset it to upload")
    if api is None and not get_token():
        raise PublishError("there is no token: run `hf auth login` or set HF_TOKEN to one that may write")
    api = api or HfApi()
    try:
        api.create_repo(repo_id=repo, repo_type="dataset", private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            commit_message=message,
            allow_patterns=list(PARTS),
            delete_patterns=["data/*.parquet"],
        )
    except OfflineModeIsEnabled as e:
        raise PublishError("offline mode is set; unset HF_HUB_OFFLINE to upload") from e
    except HfHubHTTPError as e:
        raise PublishError(f"the Hub refused the upload to {repo}: {e}") from e
    except (HTTPError, OSError) as e:
        raise PublishError(f"cannot reach the Hub: {e}; is there a network?") from e
    return str(done.commit_url)
