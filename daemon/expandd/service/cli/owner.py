"""Runs a command that root calls as the user whom the state directory belongs to; refuses other users in a sentence."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from expandd.adapters.config.load import state_dir_of
from expandd.domain.errors import ExpanddError
from expandd.domain.naming import printable

UMASK = 0o007
"""As in the unit: what is put down belongs to people's group too."""


def act_as_owner(config: Path) -> None:
    """Give up the rights of root for good when the state directory of `config` is another user's.

    The service could neither read nor replace what root leaves there. Without a state directory nothing changes.

    Raises ConfigurationError when `config` cannot be read, ExpanddError for a user who may not look into that
    directory.
    """
    directory = state_dir_of(config)
    try:
        owner = pwd.getpwuid(directory.stat().st_uid) if directory else None
    except (OSError, KeyError):
        return
    if directory is None or owner is None or owner.pw_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        if not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
            raise ExpanddError(
                f"The state directory {printable(directory)} belongs to the user {owner.pw_name}, and no one else may "
                "look into it. Run this as root, or as that user."
            )
        return
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.umask(UMASK)
