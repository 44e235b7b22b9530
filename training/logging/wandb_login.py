"""What W&B would do on this machine: its mode, its server, and whether it could log in; nobody is called."""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from expedition.errors import unknown_name

WandbMode = Literal["off", "offline", "online"]

_ENVIRONMENT = {
    "online": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
    "off": "off",
}
_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # one service: 'wandb login' writes either name


def resolve_wandb_mode(mode: str) -> WandbMode:
    """Say what a `--wandb` choice means on this machine, without asking or calling anyone.

    `auto` follows the variable WANDB_MODE where it is set; else it is `online` where an API key is configured
    and `offline` where none is. The other choices stand as they are.

    Raises:
        UserError: an unknown mode, here or in WANDB_MODE.
    """
    if mode != "auto":
        if mode not in ("off", "offline", "online"):
            raise unknown_name("W&B mode", mode, ("auto", "off", "offline", "online"))
        return cast(WandbMode, mode)
    asked = os.environ.get("WANDB_MODE")
    if asked:
        if asked not in _ENVIRONMENT:
            raise unknown_name("WANDB_MODE", asked, _ENVIRONMENT)
        return cast(WandbMode, _ENVIRONMENT[asked])
    return "online" if has_credentials() else "offline"


def has_credentials() -> bool:
    """Say whether W&B could log in from the environment, its settings file or a netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = _wandb_settings()
    if settings.get("api_key"):
        return True
    host = urlsplit(server()).netloc
    return any(_in_netrc(name) for name in (_HOSTS if host in _HOSTS else (host,)))


def server() -> str:
    """Address of the W&B server that this machine's settings name."""
    return os.environ.get("WANDB_BASE_URL") or _wandb_settings().get("base_url") or f"https://{_HOSTS[0]}"


def _wandb_settings() -> dict[str, str]:
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder.expanduser() / "settings")
        return dict(parser["default"]) if parser.has_section("default") else {}
    except (configparser.Error, OSError, RuntimeError):  # RuntimeError: no home folder
        return {}


def _in_netrc(host: str) -> bool:
    try:
        given = os.environ.get("NETRC")
        paths = [Path(given)] if given else [Path("~/.netrc"), Path("~/_netrc")]
        found = [path.expanduser() for path in paths if path.expanduser().exists()]
        return bool(found) and netrc.netrc(found[0]).authenticators(host) is not None
    except (netrc.NetrcParseError, OSError, RuntimeError):
        return False
