"""Renames a file to a name that is free, where there are no links to do that with."""

from __future__ import annotations

import ctypes
import errno
import os

from expandd.adapters.files.roots import Spot

_NO_REPLACE = 1
_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def rename_to_free_name(source: Spot, target: Spot) -> None:
    """Raises FileExistsError rather than overwrite.

    A file system that cannot promise that is asked first whether the name is free.
    """
    try:
        _rename_no_replace(source, target)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        if target.there():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target.name) from error
        os.rename(source.name, target.name, src_dir_fd=source.directory, dst_dir_fd=target.directory)


def _rename_no_replace(source: Spot, target: Spot) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(source.name), os.fsencode(target.name)
    if rename(source.directory, names[0], target.directory, names[1], _NO_REPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source.name)
