"""A child process that logs, because stderr can be anything: a pipe, journald's socket, a full disk, nothing."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CANARY = 'can"ary\\5f1e'
HEAD = f"""
import logging, os, sys, threading, warnings
from daemon import logs
from loguru import logger
CANARY = {CANARY!r}
def setup(level="INFO", fmt="auto", **options):
    logs.hide(CANARY, "short")
    logs.setup(level, fmt, **options)
"""


def run(
    code: str, *, stderr: int = subprocess.PIPE, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + code],
        stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT, timeout=30, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(env or {})},
    )  # fmt: skip


def lines(code: str, **options: dict[str, str]) -> list[str]:
    result = run(code, **options)  # type: ignore[arg-type]  # only env comes through here
    assert result.returncode == 0, result.stderr
    return result.stderr.splitlines()
