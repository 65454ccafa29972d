"""A proxy of gRPC streams with one connection to its server for all of them, as a CDN has.

`python -m tests.kit.grpc_proxy SERVER METHOD` prints the port it listens on and serves until it is ended; the
server is an address and a port. A program of its own, since gRPC's threads open sockets in whatever namespace
they were begun in.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc


class _Forward(grpc.GenericRpcHandler):  # type: ignore[type-arg] # subscripts exist in its stubs only
    """Passes every stream of one method on, as it is."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        self._call = channel.stream_stream(method, _same, _same)

    def service(self, _details: object) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The one handler there is."""
        return grpc.stream_stream_rpc_method_handler(self._stream)

    async def _stream(self, requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        try:
            async for answer in self._call(requests):
                yield answer
        except grpc.aio.AioRpcError:
            return


def _same(message: bytes) -> bytes:
    return message


async def serve(target: str, method: str) -> None:
    """Serve on a free port for ever."""
    async with grpc.aio.insecure_channel(target) as channel:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Forward(channel, method),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
