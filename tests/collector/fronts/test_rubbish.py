"""Rubbish on every route: answered by the route or with a problem in words, never by a failure of ours."""

import json
import urllib.parse
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.fronts.rest import table
from collector.fronts.rest.problems import MEDIA
from collector.fronts.rest.routes import JSON, Route
from tests.collector.fronts import rig as made
from tests.collector.fronts.rig import Rig
from tests.kit.stores import Store

_ODD_WHOLE = st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30])
_ODD_NUMBERS = _ODD_WHOLE | st.sampled_from([0.5, -0.0, 1e308])
_ODD_TEXTS = st.sampled_from(
    ["", "a", "\x00", "a\nb", "é" * 70, "𐀀", "../..", "';--", "0.0.0.0", "::", "vless", "x" * 5000]
)
_LEAVES = st.none() | st.booleans() | st.integers() | _ODD_NUMBERS | st.text(max_size=20) | _ODD_TEXTS
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
_ODD_IDS = st.sampled_from(
    ["0", "1", "2", "999999999999999999", "9" * 30, "9" * 5000, "-1", "1.0", "%00", "٣", "x", ""]
)
_ODD_METHODS = st.sampled_from(["PUT", "HEAD", "OPTIONS", "TRACE", "get"])
_TYPES = st.sampled_from([JSON, "application/json; charset=utf-8", "text/plain", "", "é"])
_TOKENS = st.sampled_from(["admin", "node", "none", "a.b.c", "..", "é", "x" * 3000])
_QUERIES = st.sampled_from(
    [
        "",
        "?since=0&wait=0",
        "?since=-1",
        "?wait=56",
        "?since=" + "9" * 40,
        "?limit=0",
        "?after=x",
        "?a=b&a=c",
        "?%ff=%ff",
    ]
)


_BY_KIND: dict[type[msgspec.inspect.Type], st.SearchStrategy[Any]] = {
    msgspec.inspect.IntType: st.integers() | _ODD_WHOLE,
    msgspec.inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    msgspec.inspect.StrType: st.text(max_size=20) | _ODD_TEXTS,
    msgspec.inspect.BoolType: st.booleans(),
    msgspec.inspect.NoneType: st.none(),
}


def _near(info: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """Values near a type, so that they come through decoding and reach what is behind it."""
    match info:
        case msgspec.inspect.UnionType():
            return st.one_of([_near(one) for one in info.types])
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            return st.lists(_near(info.item_type), max_size=5)
        case msgspec.inspect.StructType():
            return _near_struct(info)
        case _:
            return _BY_KIND.get(type(info), _VALUES)


def _near_struct(info: msgspec.inspect.StructType) -> st.SearchStrategy[Any]:
    if info.array_like:
        return st.tuples(*(_near(one.type) for one in info.fields)).map(list)
    values = {one.encode_name: (_near(one.type), one.required) for one in info.fields}
    return st.fixed_dictionaries(
        {name: value for name, (value, required) in values.items() if required},
        optional={name: value for name, (value, required) in values.items() if not required},
    )


def _bodies(route: Route) -> st.SearchStrategy[bytes]:
    near = _VALUES if route.body is None else _near(msgspec.inspect.type_info(route.body))
    rightly = near.map(lambda value: json.dumps(value).encode())
    wrongly = _VALUES.map(lambda value: json.dumps(value).encode())
    return st.one_of(
        rightly, rightly, rightly, wrongly, rightly.map(lambda text: text[:-1]), st.binary(max_size=30)
    )


@st.composite
def _requests(draw: st.DrawFn, route: Route) -> dict[str, Any]:
    def seldom(odd: st.SearchStrategy[str], usual: str) -> str:
        return draw(odd) if draw(st.integers(0, 9)) == 0 else usual

    number = seldom(_ODD_IDS, draw(st.sampled_from(["1", "2"])))
    other = seldom(_ODD_IDS, draw(st.sampled_from(["1", "2"])))
    return {
        "method": seldom(_ODD_METHODS, route.method),
        "path": route.path.replace("{id}", number).replace("{endpoint}", other) + seldom(_QUERIES, ""),
        "content": draw(_bodies(route)),
        "type": seldom(_TYPES, JSON),
        "token": seldom(_TOKENS, min(one.value for one in route.roles)),
    }


async def _ask(rig: Rig, tokens: dict[str, str], request: dict[str, Any]) -> None:
    token = tokens.get(request["token"], request["token"])
    headers = [(b"content-type", request["type"].encode()), (b"authorization", f"Bearer {token}".encode())]
    answer = await rig.http.request(
        request["method"], request["path"], content=request["content"], headers=headers
    )
    assert answer.status_code < 500, answer.text
    if answer.is_error and request["method"] != "HEAD":
        assert answer.headers["content-type"] == MEDIA
        assert answer.json()["detail"]


@pytest.mark.parametrize("route", table.ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_rubbish_on_any_route_is_never_a_failure_of_ours(store: Store, route: Route) -> None:
    with made.opened(store) as rig:
        node = rig.joined()
        tokens = {"admin": rig.admin(), "node": node.token}
        rig.user("someone", rig.endpoint(node.id), rig.tunnel(node.id))

        @settings(max_examples=60, deadline=None)
        @given(_requests(route))
        def check(request: dict[str, Any]) -> None:
            rig.run(_ask(rig, tokens, request))

        check()


def test_any_path_is_answered_and_never_with_a_failure_of_ours(tmp_path: Path) -> None:
    with made.opened(tmp_path) as rig:

        @settings(max_examples=200, deadline=None)
        @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
        def check(path: str) -> None:
            answer = rig.send("GET", "/" + urllib.parse.quote(path, safe="/%"))
            assert answer.status_code < 500
            assert answer.status_code == 200 or answer.headers["content-type"] == MEDIA

        check()
