"""What the client uses of caproto is public, and is there."""

import ast
from pathlib import Path

import caproto
import pytest

import iocs.ca

CLIENT = ("circuit", "client", "metadata", "pv", "search", "updates", "watch")


@pytest.mark.parametrize("module", CLIENT)
def test_names_of_caproto_in_use_are_public_and_there(module: str) -> None:
    tree = ast.parse((Path(iocs.ca.__file__).parent / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("caproto"):
            pytest.fail(f"line {node.lineno}: only `import caproto as ca` keeps this test whole")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ca":
            assert not node.attr.startswith("_"), f"line {node.lineno}: ca.{node.attr}"
            assert hasattr(caproto, node.attr), f"caproto {caproto.__version__} has no {node.attr}"


def test_their_parts_in_use_are_there() -> None:
    """Properties of messages and methods of its codecs, which have no other mention."""
    parts = {
        caproto.SearchResponse: ["cid", "ip", "port", "sender_address"],
        caproto.CreateChanResponse: ["cid", "sid", "data_type", "data_count"],
        caproto.AccessRightsResponse: ["cid", "access_rights"],
        caproto.ServerDisconnResponse: ["cid"],
        caproto.CreateChFailResponse: ["cid"],
        caproto.ReadNotifyResponse: ["ioid", "status", "payload_size", "data_type", "data_count", "metadata"],
        caproto.WriteNotifyResponse: ["ioid", "status"],
        caproto.ErrorResponse: ["cid", "status", "error_message", "original_request"],
        caproto.VirtualCircuit: ["recv"],
        caproto.Broadcaster: ["recv"],
    }
    for owner, names in parts.items():
        for name in names:
            assert hasattr(owner, name), f"caproto {caproto.__version__}: {owner.__name__} has no {name}"
