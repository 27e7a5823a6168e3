"""The OpenAPI: equal to its file, complete, and kept by the server under generated requests."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

from leeside_protocol.errors import WireError
from leeside_protocol.routes import BY_NAME, ROUTES
from leeside_server.relay.http.openapi import document, encoded
from tests.relay.http.world import Agency, City

FILE = Path(__file__).resolve().parents[3] / "protocol" / "openapi.json"
EXAMPLES = 12
"""Of each route and mode; a third of it where examples are to be few."""
SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


def test_the_file_is_what_the_server_serves() -> None:
    assert FILE.read_bytes() == encoded()


async def test_it_is_served(city: City) -> None:
    response = await city.client.get("/openapi.json")
    assert response.content == encoded()
    assert response.headers["content-type"] == "application/json"


def test_every_route_is_in_it_and_every_reference_leads_somewhere() -> None:
    whole = document()
    found = {(path, method) for path, item in whole["paths"].items() for method in item}
    assert found == {(route.path, route.method.lower()) for route in ROUTES}

    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', encoded().decode())):
        target: Any = whole
        for step in reference.split("/"):
            target = target[step]
    for schema in whole["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@schemathesis.serializer("application/msgpack")
def as_it_is(_: schemathesis.SerializationContext, value: Any) -> Any:
    """MessagePack bodies are bytes to the document; most that it makes are none, which must be refused as well."""
    return value if isinstance(value, bytes) else json.dumps(value, default=repr).encode()


SCHEMA = schemathesis.openapi.from_dict(json.loads(encoded()))


def gather(name: str, mode: GenerationMode) -> list[schemathesis.Case[Any]]:
    """Some requests to a route, made from the document alone. Making them is synchronous, sending them is not."""
    route = BY_NAME[name]
    paths: Any = SCHEMA
    operation = paths[route.path][route.method]
    made: st.SearchStrategy[schemathesis.Case[Any]] = operation.as_strategy(generation_mode=mode)
    cases: list[schemathesis.Case[Any]] = []

    wanted = EXAMPLES if settings().max_examples > 30 else EXAMPLES // 3

    @settings(max_examples=wanted, suppress_health_check=SLOW)
    @given(made)
    def keep(case: schemathesis.Case[Any]) -> None:
        cases.append(case)

    keep()
    return cases


async def send(city: City, case: schemathesis.Case[Any], token: str) -> httpx.Response:
    sent: dict[str, Any] = case.as_transport_kwargs(base_url="http://leeside.test")
    headers = {name: value for name, value in sent["headers"].items() if name.lower() != "user-agent"}
    headers["Authorization"] = f"Bearer {token}"
    content = json.dumps(sent["json"]).encode() if "json" in sent else sent.get("data", b"")
    if case.media_type is not None:
        headers["Content-Type"] = case.media_type
    return await city.client.request(
        sent["method"], sent["url"], params=sent.get("params"), headers=headers, content=content or b""
    )


MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CAN_BE_WRONG = [r.name for r in ROUTES if r.query or r.request is not None or "{" in r.path]


@pytest.mark.parametrize(
    ("name", "mode"),
    [(r.name, mode) for r in ROUTES for mode in MODES if mode is MODES[0] or r.name in CAN_BE_WRONG],
)
async def test_generated_requests_get_an_answer_that_conforms(
    agency: Agency, name: str, mode: GenerationMode
) -> None:
    """Right and wrong requests alike: never a 5xx, never another shape than the document says."""
    tokens = agency.admin.tokens
    assert tokens is not None
    for case in gather(name, mode):
        response = await send(agency.city, case, tokens.token)
        assert response.status_code < 500
        check(name, response)
        if name == "sign_out" and response.status_code == 204:
            tokens = await agency.admin.sign_in()


def check(name: str, response: httpx.Response) -> None:
    """The answer is the route's own or a refusal, as the document describes them."""
    route = BY_NAME[name]
    media = response.headers.get("content-type", "")
    if response.status_code != route.status:
        assert media == "application/json"
        assert response.status_code in {error.http_status for error in WireError} | {405}
        validate("ErrorAnswer", response.content)
    elif route.response is None:
        assert not response.content
    else:
        assert media == route.media
        if route.media == "application/json":
            validate(route.response.__name__, response.content)


@functools.cache
def checker(schema: str) -> Any:
    components = json.loads(encoded())["components"]
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": components})


def validate(schema: str, content: bytes) -> None:
    checker(schema).validate(json.loads(content))
