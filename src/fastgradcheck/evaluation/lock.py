"""A file that belongs to one check at a time, in this process, in others and on other machines."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BEYOND = 2**30
"""Windows lets nobody read what is locked: so a byte is locked that is not there."""

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})


class Held(Exception):
    """Somebody else has the lock; the text says who."""


class FileLock:
    """An exclusive lock, kept in a small file beside the one that it is for.

    The system lets go of it when its process ends, however that happens. It belongs to this
    process alone: worker processes neither inherit it nor let go of it.

    Parameters
    ----------
    path : path
        What is to be locked; ``run.npz`` is so by ``run.npz.lock``.

    Attributes
    ----------
    supported : bool
        False if the file system of `path` knows no locks, and nothing was locked.

    Notes
    -----
    POSIX record locks (``fcntl``, POSIX.1-2017) keep processes apart, not threads of one, and are
    lost when a process closes any of its handles of the file. So this process has a list of its
    own, and opens no file that is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self.supported = True
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock, or raise at once.

        Raises
        ------
        Held
            If somebody else has it.
        OSError
            If there can be no such file.
        """
        key = os.getpid(), os.path.realpath(self.path)
        with _listing:
            if key in _mine:
                raise Held(_name(os.getpid(), "this machine"))
            self._file = self._open()
            if self._file is not None:
                _mine[key] = self

    def release(self) -> None:
        """Let go of the lock, and leave no file; nothing happens if it is not held."""
        file, self._file = self._file, None
        if file is None:
            return
        with _listing:
            _mine.pop((os.getpid(), os.path.realpath(self.path)), None)
            if sys.platform == "win32":
                file.close()
            # Before it is let go of: nobody can then lock a file that is about to disappear.
            self._remove()
            file.close()

    def _open(self) -> BinaryIO | None:
        """The lock's file, locked; None where the file system cannot do so."""
        while True:
            file = self.path.open("a+b")
            try:
                _lock(file)
            except OSError as exc:
                owner = _owner(file)
                file.close()
                if exc.errno in _TAKEN:
                    raise Held(owner) from None
                self._remove()
                self.supported = False
                return None
            # Between the two its former owner may have removed it: then this is a lock on nothing.
            if self._is(file):
                file.truncate(0)
                file.write(f"{os.getpid()} {socket.gethostname()}".encode())
                file.flush()
                return file
            file.close()

    def _is(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            # A file that is left says nothing; only its lock does.
            return


_listing = threading.Lock()
_mine: WeakValueDictionary[tuple[int, str], FileLock] = WeakValueDictionary()


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(file: BinaryIO) -> str:
    file.seek(0)
    pid, _, host = file.read(300).decode(errors="replace").partition(" ")
    return _name(int(pid), host) if pid.isdecimal() else "another process"


def _name(pid: int, host: str) -> str:
    where = "this machine" if host == socket.gethostname() else host
    return f"process {pid} on {where}"
