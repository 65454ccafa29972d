"""Reads a core's own user counters: `python -m tests.kit.counters TARGET` prints them as one JSON object.

The witness against which bills are held, so it shares no code with the agent: the request and the answer
are taken apart here by hand (app/stats/command/command.proto of Xray-core: QueryStatsRequest.pattern = 1,
QueryStatsResponse.stat = 1, Stat.name = 1, Stat.value = 2).
"""

import json
import sys
from collections.abc import Iterator

import grpc

_METHOD = "/xray.app.stats.command.StatsService/QueryStats"
_PATTERN = b"user>>>"
_ANSWER_BYTES = 64 << 20


def read(target: str) -> dict[str, int]:
    """Every user counter by Xray's name for it (`user>>>u1-e1>>>traffic>>>downlink`)."""
    options = [("grpc.max_receive_message_length", _ANSWER_BYTES)]
    with grpc.insecure_channel(target, options=options) as channel:
        ask = channel.unary_unary(_METHOD, request_serializer=bytes, response_deserializer=bytes)
        answer = ask(bytes([0x0A, len(_PATTERN)]) + _PATTERN, wait_for_ready=True, timeout=5)
    return dict(_stat(value) for number, value in _fields(answer) if number == 1 and isinstance(value, bytes))


def _stat(message: bytes) -> tuple[str, int]:
    parts = dict(_fields(message))
    name, value = parts.get(1, b""), parts.get(2, 0)
    if not isinstance(name, bytes) or not isinstance(value, int):
        raise TypeError("this is not a Stat of Xray")
    return name.decode(), value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field; only varints and length-delimited ones occur here."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 0:
            yield key >> 3, value
        else:
            yield key >> 3, message[at : at + value]
            at += value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read(sys.argv[1])))
