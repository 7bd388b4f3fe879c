"""The options that several verbs share: where the configuration is."""

import argparse
import os
from pathlib import Path

from daemon.settings import Settings, load


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`, `--env-file` and `--set`, read by `settings`."""
    parser.add_argument("--config", type=Path, metavar="F", help="the configuration file, else it is searched for")
    parser.add_argument("--env-file", type=Path, metavar="F", help="variables to read, else ./.env if it is there")
    parser.add_argument(
        "--set", action="append", default=[], metavar="key=value", dest="overrides",
        help="one setting, over everything else: --set http.port=8791",
    )  # fmt: skip


def settings(args: argparse.Namespace) -> Settings:
    """The settings that those options and the environment describe. Raises ConfigError."""
    return load(args.config, args.env_file, args.overrides, os.environ)
