"""Checks once whether a model can be fetched from the hub. Imports no torch and no transformers.

transformers itself retries for more than a minute, and prints every attempt, before it gives up.
"""

from __future__ import annotations

import functools
import urllib.error
import urllib.request
from pathlib import Path

from swarmproof.zoo.locate import locate

_TIMEOUT_SECONDS = 10


def reach(path: str, key: str = "model.path") -> None:
    """Raise ValueError unless `path` is a zoo model, a local folder, or a reachable hub repository.

    Args:
        path: of a model.
        key: the config key of the path, named in the error.
    """
    if locate(path, key) == path and not Path(path).exists():
        require(path, key)


@functools.cache
def require(repo: str, key: str = "model.path") -> None:
    """Raise ValueError unless the hub repository `repo` is in the local cache or can be reached.

    Args:
        repo: a hub id, owner/name.
        key: the config key of the model, named in the error.

    Raises:
        ValueError: one line with the remedy.
    """
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repo, "config.json"), str):
        return
    _request(
        repo, f"{key} = {repo!r} is not in the local cache, and", ", or give a model directory"
    )


def ask(repo: str) -> None:
    """Raise ValueError unless the hub itself has the repository `repo` and can be reached now."""
    _request(repo, f"{repo} cannot be had from the hub:", "")


def _request(repo: str, where: str, remedy: str) -> None:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"{where} HF_HUB_OFFLINE is set; unset it{remedy}")
    request = urllib.request.Request(f"{constants.ENDPOINT}/api/models/{repo}", method="HEAD")
    if token := get_token():
        # Not sent along with a redirect: the token is for the hub only.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError as error:
        raise ValueError(
            f"{where} the hub answers {error.code} ({error.reason}); check the name, or set "
            "HF_TOKEN if the model is not public"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{where} the hub cannot be reached ({getattr(error, 'reason', error)}); check the "
            f"network{remedy}"
        ) from None
