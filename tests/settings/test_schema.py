"""The schema that editors use says what `load` accepts."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from daemon.settings import schema, yaml
from tests.settings.test_load import CONTRACT

BAD = Path(__file__).parents[1] / "configs" / "bad"
VALIDATOR = Draft202012Validator(schema())


def test_it_is_a_schema_and_takes_the_contract() -> None:
    Draft202012Validator.check_schema(schema())
    VALIDATOR.validate(yaml.read(CONTRACT.encode()).tree)


@pytest.mark.parametrize(
    "name",
    ["unknown_key", "mode", "http_port_high", "http_port_flag", "secret_http_token", "guard", "route_without_do"],
)
def test_it_refuses_what_load_refuses(name: str) -> None:
    assert not VALIDATOR.is_valid(yaml.read((BAD / f"{name}.yaml").read_bytes()).tree)


def test_it_takes_what_may_be_written_in_two_ways() -> None:
    VALIDATOR.validate({"mqtt": {"version": 5}, "schedules": {"polymaker_metrics": 45, "clock": None}})
    VALIDATOR.validate({"routes": [{"when": {"type": "sl", "side": ["long"]}, "do": [{"hotkeys": "main"}]}]})


def test_of_a_secret_it_takes_only_its_name_in_the_vault() -> None:
    VALIDATOR.validate({"http": {"token": "vault:http-token"}, "polymaker": {"api_key": "vault:pm", "url": None}})
    VALIDATOR.validate({"hummingbot": {"password": None}})
    for wrong in ("a-plain-secret", "vault:", "vault:two words", f"vault:{'x' * 65}", 7):
        assert not VALIDATOR.is_valid({"mqtt": {"password": wrong}})


def test_it_holds_no_secret_field_and_no_machine_path() -> None:
    text = str(schema())
    assert "writeOnly" not in text
    assert str(Path.home()) not in text
