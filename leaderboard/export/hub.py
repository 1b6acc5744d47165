"""Uploads to the Hugging Face Hub: a dataset folder of `pebench build`, a site of `pebench site` as a static Space."""

import os
import re
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from pebench.leaderboard.export.places import PLACES

REPO = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
PARTS = ("README.md", "croissant.json", "data/*.parquet")
SITE = ("README.md", "assets/*", *PLACES)
# `*` matches folders too, so the pages of all versions are sent.
SENT = ("README.md", "*.html", "*.json", "*.svg", "*.png", "assets/*")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class PublishError(ValueError):
    """Something that an upload needs is missing, or the Hub refused it; says what."""


def check_folder(folder: Path, space: bool = False) -> None:
    """PublishError where the folder is not what `pebench build`, or for a Space `pebench site`, writes."""
    command = f"pebench site {folder}" if space else f"pebench build --out {folder}"
    for part in SITE if space else PARTS:
        if not any(folder.glob(part)):
            raise PublishError(f"{folder} has no {part}; write it with `{command}`")


def push(
    repo: str,
    folder: Path,
    message: str,
    api: HfApi | None = None,
    private: bool = False,
    space: bool = False,
) -> str:
    """Upload the folder to the dataset repository or static Space `owner/name`, made if missing; the commit's URL.

    PublishError names the missing part: the folder's files, a network, a token, the right to write.
    """
    if not REPO.fullmatch(repo):
        raise PublishError(f"{repo!r} is no repository; write owner/name")
    check_folder(folder, space)
    kind = "space" if space else "dataset"
    if any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE):
        raise PublishError("offline mode is set (HF_HUB_OFFLINE); unset it to upload")
    if api is None and not get_token():
        raise PublishError(
            "there is no token: run `hf auth login` or set HF_TOKEN to a token with write access"
        )
    api = api or HfApi()
    try:
        made: dict[str, Any] = {"space_sdk": "static"} if space else {}
        api.create_repo(repo_id=repo, repo_type=kind, private=private, exist_ok=True, **made)
        done = api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            allow_patterns=list(SENT if space else PARTS),
            delete_patterns=list(SENT[1:]) if space else ["data/*.parquet"],
        )
    except OfflineModeIsEnabled as e:
        raise PublishError("offline mode is set; unset HF_HUB_OFFLINE to upload") from e
    except HfHubHTTPError as e:
        raise PublishError(f"the Hub refused the upload to {repo}: {e}") from e
    except (HTTPError, OSError) as e:
        raise PublishError(f"cannot reach the Hub: {e}; is there a network?") from e
    return str(done.commit_url)
