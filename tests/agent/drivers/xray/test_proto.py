"""The committed bindings are those of the committed description."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from agent.drivers.xray import xray_pb2

HERE = Path(xray_pb2.__file__).parent


def test_the_bindings_are_what_the_description_says(tmp_path: Path) -> None:
    protoc = pytest.importorskip(
        "grpc_tools.protoc", reason="grpcio-tools is a dependency of development only"
    )
    written = tmp_path / "set"
    assert protoc.main(["", f"-I{HERE}", f"--descriptor_set_out={written}", str(HERE / "xray.proto")]) == 0
    (described,) = descriptor_pb2.FileDescriptorSet.FromString(written.read_bytes()).file
    committed = descriptor_pb2.FileDescriptorProto.FromString(xray_pb2.DESCRIPTOR.serialized_pb)
    for message in described.message_type:
        for field in [*message.field, *(inner for nested in message.nested_type for inner in nested.field)]:
            field.ClearField("json_name")  # which only one of the two forms carries
    assert committed == described


def test_no_request_can_ask_for_a_counter_to_be_emptied() -> None:
    for message in xray_pb2.DESCRIPTOR.message_types_by_name.values():
        assert not [field.name for field in message.fields if "reset" in field.name.lower()]
