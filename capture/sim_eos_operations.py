"""What a simulated EOS body does on each operation a host asks for."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .sim_card import CardObject
from .sim_eos import EosBody
from .sim_eos_values import ADVERTISED, CR2, FOLDER, JPEG, STORAGE, Op, Prop
from .sim_faults import Fault, is_full_press
from .sim_ptp import Request, Response, array32, device_info, object_info, storage_info

ROOT = 0xFFFFFFFF


@dataclass(frozen=True)
class Reply:
    """Response code, its parameters, and the data sent before it (None: no data phase)."""

    code: int = Response.OK
    params: tuple[int, ...] = ()
    data: bytes | memoryview | None = None


Handler = Callable[[EosBody, Request, bytes], Reply]
NOT_FOUND = Reply(Response.INVALID_OBJECT_HANDLE)


def answer(body: EosBody, request: Request, data: bytes, fault: Fault | None = None) -> Reply:
    """Carry out one operation; `data` is what the host sent along, `fault` what goes wrong with a release."""
    if is_full_press(request):
        code = body.press(
            extra_frames=int(fault is not None and fault.kind == "duplicate_trigger"),
            without_exposure=fault is not None and fault.kind == "no_exposure",
        )
        return Reply(code, (0,) if code == Response.OK else ())
    handler = HANDLERS.get(request.operation)
    return Reply(Response.OPERATION_NOT_SUPPORTED) if handler is None else handler(body, request, data)


def _done(body: EosBody, request: Request, data: bytes) -> Reply:
    return Reply()


def _open_session(body: EosBody, request: Request, data: bytes) -> Reply:
    body.end_session()
    return Reply()


def _device_info(body: EosBody, request: Request, data: bytes) -> Reply:
    serial = body.properties.value(Prop.SERIAL).rstrip(b"\0").decode()
    return Reply(data=device_info(body.options.model, serial, ADVERTISED, (FOLDER, JPEG, CR2)))


def _storage_ids(body: EosBody, request: Request, data: bytes) -> Reply:
    return Reply(data=array32((STORAGE,)))


def _storage_info(body: EosBody, request: Request, data: bytes) -> Reply:
    with body.lock:
        return Reply(data=storage_info(body.card.capacity_bytes, body.card.free_bytes))


def _eos_storage_info(body: EosBody, request: Request, data: bytes) -> Reply:
    return Reply(data=bytes(32))


def _objects_below(body: EosBody, parent: int) -> Sequence[CardObject]:
    with body.lock:
        return body.card.children(0 if parent == ROOT else parent)


def _object_handles(body: EosBody, request: Request, data: bytes) -> Reply:
    kind, parent = request.param(1), request.param(2)
    with body.lock:
        items = tuple(body.card.objects.values()) if parent == 0 else _objects_below(body, parent)
    return Reply(data=array32([item.handle for item in items if kind in (0, item.format)]))


def _object_info(body: EosBody, request: Request, data: bytes) -> Reply:
    item = body.find(request.param(0))
    if item is None:
        return NOT_FOUND
    return Reply(data=object_info(STORAGE, item.format, item.size_bytes, item.parent, item.name, item.date))


def _object_info_ex(body: EosBody, request: Request, data: bytes) -> Reply:
    items = _objects_below(body, request.param(1))
    entries = [
        struct.pack("<IIIIIIIII", 56, item.handle, STORAGE, item.format, 0, 0, item.size_bytes, 0, 0)
        + item.name.encode().ljust(16, b"\0")
        + struct.pack("<I", int(item.time_utc_s))
        for item in items
    ]
    return Reply(data=struct.pack("<I", len(entries)) + b"".join(entries))


def _object(body: EosBody, request: Request, data: bytes) -> Reply:
    item = body.find(request.param(0))
    if item is None or item.format == FOLDER:
        return NOT_FOUND
    return Reply(Response.OK, (item.size_bytes,), item.data)


def _partial_object(body: EosBody, request: Request, data: bytes) -> Reply:
    item = body.find(request.param(0))
    if item is None or item.format == FOLDER:
        return NOT_FOUND
    offset, size = request.param(1), request.param(2)
    part = memoryview(item.data).cast("B")[offset : offset + size]
    return Reply(Response.OK, (len(part),), part)


def _delete_object(body: EosBody, request: Request, data: bytes) -> Reply:
    return Reply() if body.delete(request.param(0)) else NOT_FOUND


def _set_property(body: EosBody, request: Request, data: bytes) -> Reply:
    if len(data) < 9:
        return Reply(Response.GENERAL_ERROR)
    prop = int.from_bytes(data[4:8], "little")
    with body.lock:
        code = body.properties.write(prop, data[8:])
        if code == Response.OK:
            body.tell_value(prop)
            if prop == Prop.DESTINATION:
                body.tell_value(Prop.AVAILABLE_SHOTS)
    return Reply(code)


def _request_property(body: EosBody, request: Request, data: bytes) -> Reply:
    prop = request.param(0)
    if prop not in body.properties:
        return Reply(Response.GENERAL_ERROR)
    body.tell_value(prop)
    return Reply()


def _set_event_mode(body: EosBody, request: Request, data: bytes) -> Reply:
    body.set_event_mode(request.param(0))
    return Reply()


def _events(body: EosBody, request: Request, data: bytes) -> Reply:
    return Reply(data=body.take_events())


def _transfer_complete(body: EosBody, request: Request, data: bytes) -> Reply:
    with body.lock:
        body.ram.pop(request.param(0), None)
    return Reply()


def _half_press(body: EosBody, request: Request, data: bytes) -> Reply:
    return Reply(Response.OK, (0,))


def _release(body: EosBody, request: Request, data: bytes) -> Reply:
    if request.param(0) & 2:
        body.release()
    return Reply(Response.OK, (0,))


HANDLERS: dict[int, Handler] = {
    Op.GET_DEVICE_INFO: _device_info,
    Op.OPEN_SESSION: _open_session,
    Op.CLOSE_SESSION: _open_session,
    Op.GET_STORAGE_IDS: _storage_ids,
    Op.GET_STORAGE_INFO: _storage_info,
    Op.GET_OBJECT_HANDLES: _object_handles,
    Op.GET_OBJECT_INFO: _object_info,
    Op.GET_OBJECT: _object,
    Op.GET_PARTIAL_OBJECT: _partial_object,
    Op.DELETE_OBJECT: _delete_object,
    Op.EOS_GET_STORAGE_IDS: _storage_ids,
    Op.EOS_GET_STORAGE_INFO: _eos_storage_info,
    Op.EOS_GET_PARTIAL_OBJECT: _partial_object,
    Op.EOS_GET_OBJECT_INFO_EX: _object_info_ex,
    Op.EOS_SET_PROPERTY: _set_property,
    Op.EOS_SET_REMOTE_MODE: _done,
    Op.EOS_SET_EVENT_MODE: _set_event_mode,
    Op.EOS_GET_EVENT: _events,
    Op.EOS_TRANSFER_COMPLETE: _transfer_complete,
    Op.EOS_PC_HDD_CAPACITY: _done,
    Op.EOS_SET_UI_LOCK: _done,
    Op.EOS_RESET_UI_LOCK: _done,
    Op.EOS_KEEP_DEVICE_ON: _done,
    Op.EOS_REQUEST_PROPERTY: _request_property,
    Op.EOS_RELEASE_ON: _half_press,
    Op.EOS_RELEASE_OFF: _release,
    Op.EOS_AF_CANCEL: _done,
}
