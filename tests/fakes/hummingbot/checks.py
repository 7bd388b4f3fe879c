"""Requests held against the contract: what is wrong with them, in the words of FastAPI, and what only we mind."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

from tests.fakes.hummingbot.contract import Field, Route


@dataclass
class Checked:
    """What a request holds. `errors` make it a 422, `strange` are ours, `floats` are amounts that came as floats."""

    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    floats: list[str] = field(default_factory=list)


def check(route: Route, query: str, body: bytes, headers: dict[str, str], *, closed: bool) -> Checked:
    """Hold a request against its route; `closed` refuses fields the route does not have."""
    found = Checked()
    given = dict(parse_qsl(query, keep_blank_values=True))
    found.query = dict(_fields(route.query, given, "query", found, closed=False))
    if route.body is None:
        if body:
            found.strange.append("a body where none belongs")
        return found
    if not headers.get("content-type", "").startswith("application/json"):
        found.strange.append("a body that is not declared as application/json")
    try:
        whole = json.loads(body, parse_constant=_constant)
    except ValueError as error:
        if not body:
            found.errors.append(_error("missing", ["body"], "Field required", None))
        else:
            found.errors.append(_error("json_invalid", ["body", 0], "JSON decode error", {}, error=str(error)))
        return found
    if not isinstance(whole, dict):
        found.errors.append(
            _error("dict_type", ["body"], "Input should be a valid dictionary or object to extract fields from", whole)
        )
        return found
    found.body = whole if route.body == "free" else dict(_fields(route.body, whole, "body", found, closed=closed))
    return found


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _error(kind: str, where: list[Any], words: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": words, "input": value} | ({"ctx": more} if more else {})


def _fields(
    wanted: tuple[Field, ...], given: dict[str, Any], where: str, found: Checked, *, closed: bool
) -> Iterator[tuple[str, Any]]:
    names = {each.name for each in wanted}
    for name in given.keys() - names:
        found.strange.append(f"unknown {where} field {name}")
        if closed:
            found.errors.append(_error("extra_forbidden", [where, name], "Extra inputs are not permitted", given[name]))
    for each in wanted:
        if each.name not in given:
            if each.required:
                found.errors.append(_error("missing", [where, each.name], "Field required", given))
            continue
        value = given[each.name]
        if value is None and not each.required:
            yield each.name, None
            continue
        if each.kind == "decimal" and isinstance(value, float):
            found.floats.append(each.name)
        problem, value = _value(each, value, where == "query")
        if problem:
            found.errors.append(_error(problem[0], [where, each.name], problem[1], given[each.name]))
        else:
            yield each.name, value


def _value(wanted: Field, value: Any, as_text: bool) -> tuple[tuple[str, str] | None, Any]:
    kind = wanted.kind
    if as_text and kind == "flag":
        value = {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower(), value)
    if as_text and kind in ("whole", "number"):
        try:
            value = int(value) if kind == "whole" else float(value)
        except ValueError:
            return (f"{'int' if kind == 'whole' else 'float'}_parsing", "Input should be a valid number"), value
    problem = _type(kind, value)
    if problem:
        return problem, value
    if kind == "decimal":
        try:
            value = Decimal(str(value))
        except InvalidOperation:
            return ("decimal_parsing", "Input should be a valid decimal"), value
        if not value.is_finite():
            return ("finite_number", "Input should be a finite number"), value
    if wanted.enum and value not in wanted.enum:
        return ("literal_error", f"Input should be {' or '.join(map(repr, wanted.enum))}"), value
    if wanted.above is not None and value <= wanted.above:
        return ("greater_than", f"Input should be greater than {wanted.above:g}"), value
    if wanted.low is not None and value < wanted.low:
        return ("greater_than_equal", f"Input should be greater than or equal to {wanted.low:g}"), value
    if wanted.high is not None and value > wanted.high:
        return ("less_than_equal", f"Input should be less than or equal to {wanted.high:g}"), value
    return None, value


def _type(kind: str, value: Any) -> tuple[str, str] | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "text" and not isinstance(value, str):
        return "string_type", "Input should be a valid string"
    if kind == "whole" and not (number and value == int(value)):
        return "int_type", "Input should be a valid integer"
    if kind == "number" and not number:
        return "float_type", "Input should be a valid number"
    if kind == "decimal" and not (number or isinstance(value, str)):
        return "decimal_type", "Decimal input should be an integer, float, string or Decimal object"
    if kind == "flag" and not isinstance(value, bool):
        return "bool_type", "Input should be a valid boolean"
    if kind == "texts" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        return "list_type", "Input should be a valid list"
    if kind == "object" and not isinstance(value, dict):
        return "dict_type", "Input should be a valid dictionary"
    return None
