"""`deskhand schema`."""

import json

import pytest
from jsonschema import Draft202012Validator

from daemon import cli, events, settings


@pytest.mark.parametrize(("what", "schema"), [("event", events.schema()), ("config", settings.schema())])
def test_it_prints_a_json_schema(what: str, schema: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", what]) == cli.OK
    printed = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(printed)
    assert printed == schema


@pytest.mark.parametrize("words", [["schema"], ["schema", "x"], ["schema", "event", "x"]])
def test_anything_else_is_usage(words: list[str]) -> None:
    assert cli.main(words) == cli.USAGE
