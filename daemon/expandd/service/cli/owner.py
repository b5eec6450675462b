"""Runs a command that root calls as the user whom the state directory belongs to."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from expandd.adapters.config.load import state_dir_of

UMASK = 0o007
"""As in the unit: what is put down belongs to people's group too."""


def act_as_owner(config: Path) -> None:
    """Give up the rights of root for good when the state directory of `config` is another user's.

    The service could neither read nor replace what root leaves there. Raises ConfigurationError when `config` cannot be
    read; without a state directory nothing changes.
    """
    if os.geteuid() != 0:
        return
    directory = state_dir_of(config)
    try:
        owner = pwd.getpwuid(directory.stat().st_uid) if directory else None
    except (OSError, KeyError):
        return
    if owner is None or owner.pw_uid == 0:
        return
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.umask(UMASK)
