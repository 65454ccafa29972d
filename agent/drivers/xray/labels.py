"""Names by which Xray knows our accounts and inbounds.

What always holds: a name says whose it is, so a counter or a connection needs no table to be attributed.
Xray never frees the counters of a name it has seen, and compares names without case: these are few for ever
(one for each user on each endpoint) and lower-case.
"""

import re

from shared.names import EndpointId, UserId

_EMAIL = re.compile(r"u([1-9][0-9]{0,18})-e([1-9][0-9]{0,18})", re.ASCII)
_TAG = re.compile(r"e([1-9][0-9]{0,18})", re.ASCII)


def email(user: UserId, endpoint: EndpointId) -> str:
    """What Xray calls the e-mail of an account: ours of one user on one endpoint."""
    return f"u{user}-e{endpoint}"


def tag(endpoint: EndpointId) -> str:
    """The tag of the inbound that serves an endpoint."""
    return f"e{endpoint}"


def parse_email(text: str) -> tuple[UserId, EndpointId] | None:
    """The user and endpoint an e-mail stands for; None when it is not one of ours."""
    found = _EMAIL.fullmatch(text)
    return (UserId(int(found[1])), EndpointId(int(found[2]))) if found else None


def parse_tag(text: str) -> EndpointId | None:
    """The endpoint a tag stands for; None when it is not one of ours."""
    found = _TAG.fullmatch(text)
    return EndpointId(int(found[1])) if found else None
