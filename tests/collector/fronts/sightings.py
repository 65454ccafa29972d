"""Sightings told to a collector of the tests, and what it makes of them."""

from typing import Any

import msgspec

from collector.app import events, users
from collector.domain.access import SYSTEM
from collector.domain.users import User, UserChanges
from shared.messages import DesiredState, SightingsAnswer
from shared.names import EndpointId, UserId
from tests.collector.fronts.rig import Joined, Rig


def named(number: int) -> str:
    return f"{number:032x}"


def post(rig: Rig, node: Joined, salt: int, *rows: list[object]) -> SightingsAnswer:
    body = {"salt": salt, "rows": list(rows)}
    answer = rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=SightingsAnswer)


def salted(rig: Rig, node: Joined) -> int:
    return post(rig, node, 0).salt


def limited(rig: Rig, name: str, where: EndpointId, *more: EndpointId, **rules: Any) -> UserId:  # noqa: ANN401 - as changes have them
    user = rig.user(name, where, *more)
    rig.data.write_now(users.change, user, UserChanges(**rules), SYSTEM, rig.now_ms)
    return user


def told(rig: Rig, user: UserId) -> list[str]:
    every = rig.data.read_now(events.page, 0, 1_000)
    kinds = [event.kind for event in every if event.subject == f"user:{user}"]
    return [kind for kind in kinds if kind not in ("USER_CREATED", "USER_CHANGED")]


def stored(rig: Rig, user: UserId) -> User:
    return rig.data.read_now(users.one, user)


def shown(rig: Rig, token: str, path: str) -> Any:  # noqa: ANN401 - JSON
    answer = rig.send("GET", path, token=token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def polled(rig: Rig, node: Joined, mark: int = 0, since: int = 0) -> DesiredState:
    path = f"/api/v1/nodes/{node.id}/configs?since={since}&penalty_mark={mark}"
    return msgspec.json.decode(rig.send("GET", path, token=node.token).content, type=DesiredState)
