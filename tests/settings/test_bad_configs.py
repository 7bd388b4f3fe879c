"""One bad file per rule in tests/configs/bad; the comments it begins with are all that `load` may say about it."""

from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.settings import load

BAD = sorted((Path(__file__).parents[1] / "configs" / "bad").glob("*.yaml"))


def expected(path: Path) -> list[str]:
    said = []
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            break
        said.append(line.removeprefix("# "))
    # `-: ` marks what has no line in the file, because a default is at fault.
    return [text.removeprefix("-: ") if text.startswith("-: ") else f"{path}:{text}" for text in said]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_in_so_many_words(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(path, None, (), {})
    assert list(caught.value.problems) == expected(path)
    assert "canary" not in str(caught.value)


def test_there_are_bad_files() -> None:
    assert len(BAD) > 80
