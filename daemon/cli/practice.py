"""`deskhand practice`: a practice hotkey server that shows the keys pressed."""

import argparse
import asyncio

from loguru import logger

from daemon.cli.terminal import show
from daemon.errors import ConfigError

HELP = "run a practice hotkey server that shows the keys pressed"
_PORT = 8765


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--port", type=int, default=_PORT, metavar="N", help=f"{_PORT}, as the known servers; 0 is any")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    try:
        asyncio.run(_serve(args.port))
    except KeyboardInterrupt:
        show("")
    return 0


async def _serve(port: int) -> None:
    from handlers.hotkeys.practice import PracticeServer  # noqa: PLC0415  # `--help` should not wait for it

    logger.remove()
    logger.add(_line, format="{time:HH:mm:ss.SSS} {message}", diagnose=False)
    server = PracticeServer(port)
    try:
        await server.start()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port: {port} cannot be used: {error}") from error
    show(f"practice hotkey server on {server.url}; keys appear here, Ctrl-C ends it")
    print(end="", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


def _line(text: str) -> None:
    show(text.rstrip("\n"))
    print(end="", flush=True)
