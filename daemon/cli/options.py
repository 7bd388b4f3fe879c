"""The options that several verbs share: where the configuration is, and what opens the vault."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from daemon import logs
from daemon.cli.secret import Passphrase
from daemon.settings import Settings, Unlock, load

_CREDENTIALS = Path("/etc/credstore.encrypted")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`, `--env-file`, `--set` and `--passphrase-stdin`, read by `settings`."""
    parser.add_argument("--config", type=Path, metavar="F", help="the configuration file, else it is searched for")
    parser.add_argument("--env-file", type=Path, metavar="F", help="variables to read, else ./.env if it is there")
    parser.add_argument(
        "--set", action="append", default=[], metavar="key=value", dest="overrides",
        help="one setting, over everything else: --set http.port=8791",
    )  # fmt: skip
    parser.add_argument(
        "--passphrase-stdin", action="store_true", help="read the vault's passphrase from the first line of stdin"
    )


def settings(args: argparse.Namespace, passphrase: Passphrase | None = None) -> Settings:
    """The settings that those options and the environment describe. Raises ConfigError."""
    logs.plain()
    return load(args.config, args.env_file, args.overrides, os.environ, unlocking(args, passphrase))


def settings_of_service(args: argparse.Namespace) -> Settings:
    """The settings as the daemon sees them, if it runs as a service. Raises ConfigError."""
    environ, env_file = as_service(args)
    return load(args.config, env_file, args.overrides, environ, unlocking(args))


def as_service(args: argparse.Namespace) -> tuple[Mapping[str, str], Path | None]:
    """Environment and `.env` as they count for a configuration that is an installed service's: its unit says where it
    keeps its state, and it reads the `.env` beside its configuration. For any other, as they are here.
    """
    logs.plain()
    from daemon import service  # noqa: PLC0415  # other verbs do without
    from daemon.settings.load import find  # noqa: PLC0415  # see above

    environ, env_file = dict(os.environ), args.env_file
    file, _ = find(args.config, environ, environ)
    for each in (service.system(), service.user(os.environ)):
        if file is not None and each.unit.is_file() and each.config == file.absolute().parent:
            environ = {"STATE_DIRECTORY": str(each.state), "RUNTIME_DIRECTORY": str(each.runtime)} | environ
            if env_file is None and (each.config / ".env").exists():
                env_file = each.config / ".env"
    return environ, env_file


def unlocking(args: argparse.Namespace, passphrase: Passphrase | None = None) -> Unlock:
    """What opens the vault beside files; a passphrase is asked for when it is needed."""
    credential = None
    if os.geteuid() == 0 and any(_CREDENTIALS.glob("deskhand.key*")):
        from daemon.service.credential import Credential  # noqa: PLC0415  # most do without

        credential = Credential()
    return Unlock(passphrase or Passphrase(from_stdin=args.passphrase_stdin), credential)
