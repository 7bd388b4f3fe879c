"""`deskhand vault`, typed as a person would: pipes, terminals, and where a value must never show up."""

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from daemon import cli
from tests.house.code import ROOT

CANARY = "canary-3f80-canary"
WORDS = "correct horse battery staple"


class Person:
    """Somebody with a home of their own and no service."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}

    @property
    def state(self) -> Path:
        return self.home / ".local/state/deskhand"

    @property
    def key(self) -> Path:
        return self.home / ".config/deskhand/vault.key"

    def types(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """Without a terminal; what it says on stdout, and on stderr when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "vault", *words], input=stdin, capture_output=True, text=True,
            cwd=self.home, env=self.environ, timeout=30, check=False, start_new_session=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert CANARY not in done.stderr
        return done.stderr if code else done.stdout

    def at_terminal(self, words: Sequence[str], answers: Mapping[str, str], verb: str = "vault") -> tuple[int, str]:
        """At a terminal, answering each prompt; exit code and all that could be read on the screen."""
        return at_terminal([sys.executable, "-m", "daemon", verb, *words], answers, self.home, self.environ)


def at_terminal(
    command: Sequence[str], answers: Mapping[str, str], cwd: Path, environ: Mapping[str, str]
) -> tuple[int, str]:
    child, screen = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execve(command[0], list(command), dict(environ))
    shown, answered, ends = "", 0, time.monotonic() + 30
    try:
        while time.monotonic() < ends:
            if not select.select([screen], [], [], 1)[0]:
                continue
            try:
                more = os.read(screen, 4096)
            except OSError:  # how Linux tells the end of a terminal
                break
            if not more:
                break
            shown += more.decode()
            for prompt, answer in answers.items():
                if shown[answered:].endswith(prompt):
                    answered = len(shown)
                    os.write(screen, f"{answer}\n".encode())
        else:
            pytest.fail(f"it never ended: {shown}")
    finally:
        os.close(screen)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, shown


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.fixture
def owner(person: Person) -> Person:
    """Has a vault with one secret."""
    person.types("init")
    person.types("set", "pm", stdin=f"{CANARY}\n")
    return person


def test_from_nothing_to_a_secret_and_back(person: Person) -> None:
    said = person.types("init")
    assert f"made {person.state}/vault\nits key is in {person.key}: keep a copy of that file elsewhere" in said
    assert stat.S_IMODE(person.key.stat().st_mode) == 0o600
    assert person.types("list") == "the vault is empty\n"
    assert person.types("set", "pm", stdin=f"{CANARY}\n") == (
        "pm is set; a daemon that runs takes it over with: deskhand reload\n"
    )
    listed = person.types("list")
    assert re.fullmatch(r"NAME  SET +FINGERPRINT\npm +[0-9]+ s ago +[0-9a-f]{4}\n", listed)
    assert re.fullmatch(r"pm is there, set .* ago \([0-9:.]+\), fingerprint [0-9a-f]{4}\n", person.types("get", "pm"))
    assert "good, 1 secret, opened by" in person.types("verify")
    person.types("rotate")
    person.types("rekey")
    assert person.types("get", "pm", "--reveal", "--force") == f"{CANARY}\n"
    person.types("export", "--to", "copy")
    assert person.types("export", "--to", "copy", code=78) == "copy: is there already; nothing was written\n"
    assert "until the next change" in person.types("rm", "pm")
    assert person.types("rm", "pm", code=1) == "the vault holds no pm\n"
    assert person.types("get", "pm", code=1) == "the vault holds no pm\n"
    assert "there is a vault already; nothing was changed" in person.types("init", code=78)


def test_for_programs(owner: Person) -> None:
    (row,) = json.loads(owner.types("list", "--json"))
    assert sorted(row) == ["fingerprint", "name", "set"]
    assert json.loads(owner.types("get", "pm", "--json")) == row
    assert json.loads(owner.types("get", "pm", "--json", "--reveal", "--force")) == row | {"value": CANARY}
    found = json.loads(owner.types("verify", "--json"))
    assert (found["ok"], found["secrets"], found["backup"]) == (True, 1, "good")


def test_one_line_end_is_taken_off_and_nothing_else(owner: Person) -> None:
    for given, kept in (("a\n\n", "a\n"), ("a\r\n", "a"), (" a b ", " a b "), ("-----BEGIN\nx\n-----END\n", None)):
        owner.types("set", "x", stdin=given)
        value = json.loads(owner.types("get", "x", "--reveal", "--force", "--json"))["value"]
        assert value == (given[:-1] if kept is None else kept)


def test_what_stdin_cannot_mean_changes_nothing(owner: Person) -> None:
    before = (owner.state / "vault").read_bytes()
    assert owner.types("set", "pm", code=1) == "the value is empty\n"
    assert owner.types("set", "pm", stdin=CANARY * 4000, code=1) == "the value is longer than 64 KiB\n"
    assert (owner.state / "vault").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["set", "pm", CANARY], ["set", f"{CANARY} {CANARY}"], ["set", "pm", f"--value={CANARY}"],
        ["set", "pm", "--config", "x.yaml", CANARY], ["set"], ["init", "--passphrase", "--credential"], [],
    ],
)  # fmt: skip
def test_a_value_on_the_command_line_is_refused_and_not_repeated(
    words: list[str], owner: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (owner.state / "vault").read_bytes()
    monkeypatch.setenv("HOME", str(owner.home))
    assert cli.main(["vault", *words]) == cli.USAGE
    shown = capsys.readouterr()
    assert CANARY not in shown.out + shown.err
    assert (owner.state / "vault").read_bytes() == before


def test_a_value_is_not_printed_into_a_file_by_mistake(owner: Person) -> None:
    assert "stdout is no terminal" in owner.types("get", "pm", "--reveal", code=2)
    code, screen = owner.at_terminal(["get", "pm", "--reveal"], {})
    assert (code, screen.strip()) == (0, CANARY)


def test_a_hidden_prompt_asked_twice(owner: Person) -> None:
    answers = {"value of mq: ": CANARY, "value of mq, again: ": CANARY}
    code, screen = owner.at_terminal(["set", "mq"], answers)
    assert code == 0, screen
    assert CANARY not in screen
    assert owner.types("get", "mq", "--reveal", "--force") == f"{CANARY}\n"
    code, screen = owner.at_terminal(["set", "mq"], answers | {"value of mq, again: ": "another"})
    assert code == 1
    assert "the two differ; nothing was changed" in screen
    assert owner.types("get", "mq", "--reveal", "--force") == f"{CANARY}\n"


def test_a_passphrase_at_a_terminal(person: Person) -> None:
    new = {"new passphrase: ": WORDS, "new passphrase, again: ": WORDS}
    code, screen = person.at_terminal(["init", "--passphrase"], new)
    assert code == 0, screen
    assert WORDS not in screen
    assert not person.key.exists()
    ask = {"passphrase of the vault: ": WORDS, "value of pm: ": CANARY, "value of pm, again: ": CANARY}
    code, screen = person.at_terminal(["set", "pm"], ask)
    assert code == 0, screen
    code, screen = person.at_terminal(["list"], {"passphrase of the vault: ": "wrong and wrong again"})
    assert code == 78
    assert "the passphrase does not open it" in screen
    code, screen = person.at_terminal(["rekey"], ask)
    assert code == 0, screen
    assert person.types("get", "pm", "--reveal", "--force") == f"{CANARY}\n"
    short = dict.fromkeys(new, "short")
    code, screen = person.at_terminal(["rekey", "--passphrase"], short)
    assert (code, "shorter than 12 characters" in screen) == (78, True)


def test_a_passphrase_on_stdin(person: Person) -> None:
    person.types("init", "--passphrase", "--passphrase-stdin", stdin=f"{WORDS}\n")
    person.types("set", "pm", "--passphrase-stdin", stdin=f"{WORDS}\n{CANARY}\n")
    assert person.types("get", "pm", "--reveal", "--force", "--passphrase-stdin", stdin=WORDS) == f"{CANARY}\n"
    assert "there is no terminal to ask" in person.types("list", code=78)
    assert "stdin has no line" in person.types("list", "--passphrase-stdin", code=78)
    person.types("rekey", "--passphrase", "--passphrase-stdin", stdin=f"{WORDS}\nanother {WORDS}\n")
    assert person.types("list", "--passphrase-stdin", stdin=f"{WORDS}\n", code=78).endswith("or the file was forged\n")
    assert "pm" in person.types("list", "--passphrase-stdin", stdin=f"another {WORDS}\n")


def test_the_vault_can_be_used_to_put_a_configuration_right(person: Person) -> None:
    file = person.home / "deskhand.yaml"
    file.write_text("state_dir: ./s\npolymaker: {api_key: vault:pm}\nhttp: {port: x}\nnonsense: 1\n")
    assert f"its key is in {person.home}/vault.key" in person.types("init")
    person.types("set", "pm", stdin=CANARY)
    assert (person.home / "s/vault").exists()
    assert person.types("get", "pm", "--reveal", "--force") == f"{CANARY}\n"


def test_a_damaged_vault_is_left_as_it_is(owner: Person) -> None:
    path = owner.state / "vault"
    path.write_bytes(path.read_bytes()[:-1])
    damaged = path.read_bytes()
    for words in (["list"], ["set", "pm"], ["rm", "pm"], ["rotate"], ["rekey"], ["verify"], ["export", "--to", "x"]):
        said = owner.types(*words, stdin=CANARY, code=78)
        assert f"{path}: is cut off; the last good one is its backup; run: cp -p {path}.bak {path}\n" == said
    assert path.read_bytes() == damaged
    assert owner.types("init", code=78).startswith(f"{path}: there is a vault already")


def test_init_takes_a_key_that_somebody_brought(owner: Person) -> None:
    key = owner.key.read_bytes()
    for name in ("vault", "vault.bak"):
        (owner.state / name).unlink()
    owner.types("init")
    assert owner.key.read_bytes() == key


def test_a_value_is_in_no_process_list_while_it_waits(owner: Person) -> None:
    """It reads from a pipe that stays open, so that it can be looked at with the value already in it."""
    child = subprocess.Popen(
        [sys.executable, "-m", "daemon", "vault", "set", "slow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=owner.home, env=owner.environ,
    )  # fmt: skip
    assert child.stdin
    assert child.stdout
    try:
        child.stdin.write(CANARY.encode())
        child.stdin.flush()
        shown = b""
        ends = time.monotonic() + 10
        while b"vault" not in shown and time.monotonic() < ends:
            shown = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        shown += Path(f"/proc/{child.pid}/environ").read_bytes()
        assert CANARY.encode() not in shown
    finally:
        child.stdin.close()
        said = child.stdout.read()
        child.stdout.close()
        assert child.wait(20) == 0
    assert CANARY.encode() not in said
