"""PTP over IP: packets, data encodings and the datasets a camera answers with. All integers are little-endian.

Written from the protocol: CIPA DC-005 (PTP/IP), ISO 15740 (PTP datasets), and the vendor records as traced.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

HEADER_BYTES = 8
# Hosts send blocks of this size and accept any; the camera answers with the same.
BLOCK_BYTES = 65536
# A host's packet is a request of a few numbers or one property value.
MAX_HOST_PACKET_BYTES = 1 << 20


class Packet(IntEnum):
    """Packet types on the wire."""

    INIT_COMMAND_REQUEST = 1
    INIT_COMMAND_ACK = 2
    INIT_EVENT_REQUEST = 3
    INIT_EVENT_ACK = 4
    INIT_FAIL = 5
    COMMAND_REQUEST = 6
    COMMAND_RESPONSE = 7
    EVENT = 8
    START_DATA = 9
    DATA = 10
    CANCEL = 11
    END_DATA = 12


class Response(IntEnum):
    """PTP response codes."""

    OK = 0x2001
    GENERAL_ERROR = 0x2002
    OPERATION_NOT_SUPPORTED = 0x2005
    INVALID_OBJECT_HANDLE = 0x2009
    DEVICE_PROP_NOT_SUPPORTED = 0x200A
    STORE_FULL = 0x200C
    ACCESS_DENIED = 0x200F
    DEVICE_BUSY = 0x2019


@dataclass(frozen=True)
class Request:
    """One command: operation code, transaction id, parameters, and whether a data phase from the host follows."""

    operation: int
    transaction: int
    params: tuple[int, ...]
    host_sends_data: bool

    def param(self, index: int) -> int:
        """Parameter `index`, 0 when the host left it out."""
        return self.params[index] if index < len(self.params) else 0


def packet(kind: int, payload: bytes = b"") -> bytes:
    """A whole packet: length, type, payload."""
    return struct.pack("<II", HEADER_BYTES + len(payload), kind) + payload


def init_ack(connection: int, guid: bytes, name: str) -> bytes:
    """Answer to a host's first packet: connection number, 16-byte camera GUID, camera name, version 1.0."""
    return packet(
        Packet.INIT_COMMAND_ACK,
        struct.pack("<I", connection) + guid + name.encode("utf-16-le") + b"\0\0" + struct.pack("<I", 0x00010000),
    )


def init_fail(reason: int) -> bytes:
    """Refusal of a connection: 1 rejected, 2 busy, 3 unspecified."""
    return packet(Packet.INIT_FAIL, struct.pack("<I", reason))


def response(code: int, transaction: int, params: Sequence[int] = ()) -> bytes:
    """Response packet that ends a transaction."""
    return packet(Packet.COMMAND_RESPONSE, struct.pack(f"<HI{len(params)}I", code, transaction, *params))


def parse_request(payload: bytes) -> Request:
    """Read the payload of a command request; raises ValueError when it is too short."""
    if len(payload) < 10:
        raise ValueError(f"command request of {len(payload)} bytes, but expected at least 10")
    phase, operation, transaction = struct.unpack_from("<IHI", payload)
    count = min(5, (len(payload) - 10) // 4)
    return Request(operation, transaction, struct.unpack_from(f"<{count}I", payload, 10), phase == 2)


def data_packets(transaction: int, data: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The data phase of an answer as (head, body) pairs, without copying `data`: start, data blocks, end."""
    view = memoryview(data).cast("B")
    yield packet(Packet.START_DATA, struct.pack("<IQ", transaction, len(view))), view[:0]
    position = 0
    while True:
        block = view[position : position + BLOCK_BYTES]
        position += len(block)
        is_last = position >= len(view)
        kind = Packet.END_DATA if is_last else Packet.DATA
        yield struct.pack("<III", HEADER_BYTES + 4 + len(block), kind, transaction), block
        if is_last:
            return


def text(value: str) -> bytes:
    """PTP string: number of UTF-16 units with the terminator, then the units; one zero byte when empty.

    Raises ValueError beyond 254 units.
    """
    units = value.encode("utf-16-le")
    if not units:
        return b"\0"
    if len(units) > 2 * 254:
        raise ValueError(f"{len(units) // 2} UTF-16 units, but a PTP string holds at most 254")
    return bytes([len(units) // 2 + 1]) + units + b"\0\0"


def array16(values: Sequence[int]) -> bytes:
    """PTP array of unsigned 16-bit numbers."""
    return struct.pack(f"<I{len(values)}H", len(values), *values)


def array32(values: Sequence[int]) -> bytes:
    """PTP array of unsigned 32-bit numbers."""
    return struct.pack(f"<I{len(values)}I", len(values), *values)


def device_info(model: str, serial: str, operations: Sequence[int], image_formats: Sequence[int]) -> bytes:
    """DeviceInfo dataset of a Canon body."""
    head = struct.pack("<HIH", 100, 0x0000000B, 100) + text("") + struct.pack("<H", 0)
    lists = array16(operations) + array16((0x4002, 0xC101)) + array16(()) + array16((0x3801,)) + array16(image_formats)
    return head + lists + text("Canon Inc.") + text(model) + text("3-1.0.0") + text(serial)


def storage_info(capacity_bytes: int, free_bytes: int) -> bytes:
    """StorageInfo dataset of a removable, writable card with a DCF file system."""
    return struct.pack("<HHHQQI", 4, 3, 0, capacity_bytes, free_bytes, 0xFFFFFFFF) + text("SD") + text("")


def object_info(storage: int, kind: int, size_bytes: int, parent: int, name: str, date: str) -> bytes:
    """ObjectInfo dataset; `kind` is the object format, `date` is YYYYMMDDThhmmss."""
    is_folder = kind == 0x3001
    head = struct.pack("<IHHI", storage, kind, 0, min(size_bytes, 0xFFFFFFFF))
    middle = struct.pack("<H6II", 0, 0, 0, 0, 0, 0, 0, parent)
    return head + middle + struct.pack("<HII", 1 if is_folder else 0, 0, 0) + text(name) + text(date) * 2 + text("")
