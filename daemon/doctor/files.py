"""What lies on the disk: is it there, whose is it, who else may read or change it, and is there room."""

import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.doctor.check import Check, fail, me, ok, size, warn
from daemon.errors import ConfigError
from daemon.http.token import NAME as TOKEN
from daemon.http.tokens import read as read_tokens
from daemon.lifecycle import user_name
from daemon.settings import Settings

LEAST_BYTES, FEW_BYTES = 64 * 1024 * 1024, 512 * 1024 * 1024
"""Free space below which it fails and warns, in bytes: the journal may take 512 MiB."""
LEAST_INODES, FEW_INODES = 16, 1000
"""Free inodes below which it fails and warns."""
_FIRST_PERSON = 1000  # uids below are those of services, see login.defs
_PATH_LIMIT = 107  # bytes of a unix socket's path


def look(settings: Settings, socket: Path) -> Iterator[Check]:
    """Every file and folder that the settings name."""
    yield env_file(settings.origin.env_file)
    if settings.origin.file is not None:
        yield configuration_file(settings.origin.file)
    yield from state_folder(settings.state_dir)
    yield token(settings)
    yield from tokens(settings.state_dir)
    if socket.parent == settings.state_dir and socket.parent.exists():
        yield unix_socket(socket, shared=settings.origin.service)  # of the folder all is said
    else:
        yield socket_folder(socket, shared=settings.origin.service)


def env_file(path: Path | None) -> Check:
    """`.env` holds secrets; when it is not ours alone the configuration has failed already."""
    if path is None:
        return ok(".env", "none")
    return ok(".env", f"{path.absolute()}, readable by {me()} alone")


def configuration_file(path: Path) -> Check:
    """The YAML file holds no secret, but whoever can write it decides which keys are pressed."""
    about = path.stat()
    name = "config file"
    if about.st_uid not in (0, os.geteuid()):
        owner = user_name(about.st_uid)
        return fail(name, f"{path} belongs to {owner}, who could change what is pressed", _chown(path))
    if about.st_mode & stat.S_IWOTH:
        return fail(name, f"everybody can change {path}", f"chmod o-w {_quoted(path)}")
    if about.st_mode & stat.S_IWGRP and about.st_gid not in (0, os.getegid()):
        return fail(name, f"a group can change {path}", f"chmod g-w {_quoted(path)}")
    return ok(name, f"{path.absolute()}, safe from others")


def state_folder(folder: Path) -> Iterator[Check]:
    """Where the journal is. That a file can be made is tried, not concluded from modes."""
    name = "state folder"
    try:
        about = folder.stat()
    except FileNotFoundError:
        yield _missing(folder)
        return
    except OSError as error:
        yield fail(name, f"{folder} cannot be looked at: {error.strerror}", as_owner(folder.parent))
        return
    if not stat.S_ISDIR(about.st_mode):
        yield fail(name, f"{folder} is not a folder", "set another state_dir")
        return
    if about.st_uid != os.geteuid():
        yield fail(name, f"{folder} belongs to {user_name(about.st_uid)}, not to {me()}", as_owner(folder))
    elif about.st_mode & 0o077:
        yield fail(name, f"others can read {folder}", f"chmod 700 {_quoted(folder)}")
    else:
        problem = _not_writable(folder)
        yield problem or ok(name, f"{folder}, writable by {me()} alone")
    yield from disk(folder)


def disk(folder: Path) -> Iterator[Check]:
    """Free space and inodes where the folder is."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    remedy = f"make room: df -h {_quoted(folder)}"
    if free < LEAST_BYTES:
        text = (
            f"{size(free)} free, less than {size(LEAST_BYTES)}: entries are refused when the journal cannot be written"
        )
        yield fail("disk", text, remedy)
    elif free < FEW_BYTES:
        yield warn("disk", f"only {size(free)} free", remedy)
    else:
        yield ok("disk", f"{size(free)} free")
    if room.f_files and room.f_favail < FEW_INODES:  # some file systems do not count them
        tell = fail if room.f_favail < LEAST_INODES else warn
        yield tell(
            "disk", f"only {room.f_favail} more files fit (inodes)", f"delete small files: df -i {_quoted(folder)}"
        )


def token(settings: Settings) -> Check:
    """The token of the HTTP API."""
    name = "http token"
    if settings.http.token is not None:
        return ok(name, "from the configuration")
    path = settings.state_dir / TOKEN
    try:
        about = path.lstat()
    except OSError:
        return ok(name, "none yet; the first start makes one")
    if not stat.S_ISREG(about.st_mode):
        return fail(name, f"{path} is not a plain file", f"rm {_quoted(path)}; the next start makes a new one")
    if about.st_mode & 0o077:
        return fail(name, f"others can read {path}", f"chmod 600 {_quoted(path)}, or delete it to get a new one")
    if about.st_uid not in (0, os.geteuid()):
        return fail(name, f"{path} belongs to {user_name(about.st_uid)}", as_owner(path))
    return ok(name, f"{path}, readable by {me()} alone")


def tokens(folder: Path) -> Iterator[Check]:
    """The other tokens of the API, only if something is wrong with them: the daemon starts without them."""
    if not os.access(folder, os.R_OK | os.X_OK):  # of the folder all is said
        return
    try:
        read_tokens(folder)
    except ConfigError as error:
        text, _, remedy = str(error).partition("; ")
        yield fail("tokens", f"{text}; a daemon that starts knows none of them", remedy.removeprefix("run: "))


def socket_folder(socket: Path, *, shared: bool) -> Check:
    """Where the unix socket is: whoever may write there could put a socket of his own in its place."""
    name, folder = "unix socket", socket.parent
    try:
        about = folder.stat()
    except OSError:
        return unix_socket(socket, shared=shared)
    if about.st_uid not in (0, os.geteuid()):
        return fail(name, f"{folder} belongs to {user_name(about.st_uid)}", as_owner(folder))
    if about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX:
        return fail(name, f"others can put a socket of their own into {folder}", f"chmod go-w {_quoted(folder)}")
    return unix_socket(socket, shared=shared)


def unix_socket(path: Path, *, shared: bool) -> Check:
    """The socket itself; `shared`: the service's, which a group may use."""
    name = "unix socket"
    if len(os.fsencode(path)) > _PATH_LIMIT:
        return fail(name, f"{path} is longer than {_PATH_LIMIT} bytes", "set a shorter state_dir")
    try:
        about = path.lstat()
    except OSError:
        return ok(name, f"{path}, made at the start")
    if not stat.S_ISSOCK(about.st_mode):
        return fail(name, f"{path} is in the way: it is not a socket", f"rm {_quoted(path)}")
    if about.st_mode & (0o007 if shared else 0o077) and about.st_uid == os.geteuid():
        mode = "660" if shared else "600"
        return fail(name, f"others can press keys through {path}", f"chmod {mode} {_quoted(path)}")
    return ok(name, str(path))


def _missing(folder: Path) -> Check:
    name = "state folder"
    above = next(parent for parent in folder.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        make = f"sudo install -d -m 700 -o {me()} {_quoted(folder)}"
        return fail(name, f"{folder} is not there, and {above} does not let {me()} make it", make)
    return ok(name, f"{folder}, made at the first start")


def _not_writable(folder: Path) -> Check | None:
    """A problem if no file can be made and written there; the file is gone again before this returns."""
    name = "state folder"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name on most file systems
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return fail(
                name,
                f"{folder} is on a file system that is read-only",
                f"mount -o remount,rw, see: findmnt -T {_quoted(folder)}",
            )
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            return fail(name, f"no file fits into {folder}: {error.strerror}", f"make room: df -h -i {_quoted(folder)}")
        return fail(name, f"no file can be made in {folder}: {error.strerror}", f"chmod 700 {_quoted(folder)}")
    return None


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _chown(path: Path) -> str:
    return f"sudo chown {me()} {_quoted(path)}"


def as_owner(path: Path) -> str:
    """What to do about a file or folder of somebody else's: root most likely looks at a service's, and should look as
    that service instead of taking it away.
    """
    try:
        owner = path.stat().st_uid
    except OSError:
        owner = 0
    if os.geteuid() == 0 and owner:
        look = f"look as its owner: sudo -u {user_name(owner)} deskhand doctor"
        # A service's own user: taking its files away would leave the running daemon without a journal.
        return look if owner < _FIRST_PERSON else f"{look}; or, if it is yours: chown -R root {_quoted(path)}"
    return f"sudo chown -R {me()} {_quoted(path)}"
