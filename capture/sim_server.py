"""The network side of a simulated camera: listener, command and event connections, pacing, broken connections.

One host at a time, as real bodies have it; a host that has vanished makes room for the next.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .sim_eos_operations import Reply
from .sim_faults import Fault, FaultPlan
from .sim_ptp import (
    HEADER_BYTES,
    MAX_HOST_PACKET_BYTES,
    Packet,
    Request,
    data_packets,
    init_ack,
    init_fail,
    packet,
    parse_request,
    response,
)

REFUSED_BUSY = 2
# How often a held connection looks whether its host has gone.
HOLD_POLL_S = 0.02
# Bytes sent in one go; a paced connection sleeps between them, about 12 ms at USB 2 speed.
CHUNK_BYTES = 4 * 65536
# Time that a paced connection may catch up: what a host spends between the blocks of a file.
PACE_CREDIT_S = 0.02


class _ConnectionLost(Exception):
    """This connection has ended, by either side or by a fault."""


@dataclass(eq=False)
class _Session:
    number: int
    command: socket.socket
    event: socket.socket | None = None


class Pacer:
    """Keeps a sender at `bytes_per_s` on average (None: no limit)."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._paid_until_s = 0.0

    def sent(self, count: int) -> None:
        """Sleep off the time that `count` sent bytes take."""
        if self._bytes_per_s is None:
            return
        now_s = time.monotonic()
        self._paid_until_s = max(self._paid_until_s, now_s - PACE_CREDIT_S) + count / self._bytes_per_s
        if self._paid_until_s > now_s:
            time.sleep(self._paid_until_s - now_s)


class CameraServer:
    """Listens at one address. `respond` answers an operation and tells the fault that breaks its transport, if any;
    `ended` is called when a host's session is over. `port` is the real one once listening (options may say 0).
    """

    def __init__(
        self,
        address: str,
        port: int,
        name: str,
        bytes_per_s: float | None,
        faults: FaultPlan,
        respond: Callable[[Request, bytes], tuple[Reply, Fault | None]],
        ended: Callable[[], None],
    ) -> None:
        self.address, self.port = address, port
        self._name = name
        self._pacer = Pacer(bytes_per_s)
        self._faults = faults
        self._respond = respond
        self._ended = ended
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._session: _Session | None = None
        self._sessions = 0

    def listen(self) -> None:
        """Open the listener, if it is not open."""
        with self._lock:
            if self._listener is not None:
                return
            self._listener = socket.create_server((self.address, self.port), backlog=128)
            self.port = self._listener.getsockname()[1]
            self._start(self._accept, self._listener)

    def shut(self) -> None:
        """Close the listener and every connection; whoever connects now is refused."""
        with self._lock:
            listener, self._listener = self._listener, None
            if listener is not None:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which close alone does not
                listener.close()
        self.drop()

    def drop(self) -> None:
        """Close every connection."""
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait for the threads of a server that was shut."""
        with self._lock:
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"{self._name}-net", daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                self._sockets.add(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        """One connection: its first packet tells a command channel from an event channel."""
        try:
            kind, payload = _read_packet(connection)
            self._hold_while_frozen(connection)
            if kind == Packet.INIT_COMMAND_REQUEST:
                self._serve_commands(connection)
            elif kind == Packet.INIT_EVENT_REQUEST:
                self._serve_events(connection, payload)
        except (_ConnectionLost, OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._sockets.discard(connection)
            connection.close()

    def _serve_events(self, connection: socket.socket, payload: bytes) -> None:
        number = struct.unpack_from("<I", payload.ljust(4, b"\0"))[0]
        with self._lock:
            session = self._session
            if session is None or session.number != number:
                connection.sendall(init_fail(1))
                return
            session.event = connection
        connection.sendall(packet(Packet.INIT_EVENT_ACK))
        while True:  # nothing comes here: EOS bodies are polled over the command connection
            _read_packet(connection)

    def _serve_commands(self, connection: socket.socket) -> None:
        session = self._claim(connection)
        if session is None:
            connection.sendall(init_fail(REFUSED_BUSY))
            return
        try:
            guid = self._name.encode()[:16].ljust(16, b"\0")
            connection.sendall(init_ack(session.number, guid, self._name))
            while True:
                self._transact(connection)
        finally:
            with self._lock:
                if self._session is session:
                    self._ended()  # before the next host can claim the body
                    self._session = None
                if session.event is not None:
                    with contextlib.suppress(OSError):
                        session.event.shutdown(socket.SHUT_RDWR)

    def _claim(self, connection: socket.socket) -> _Session | None:
        """Make this connection the one host, unless another one is there and alive."""
        with self._lock:
            old = self._session
            if old is not None:
                if not _peer_has_gone(old.command):
                    return None
                with contextlib.suppress(OSError):
                    old.command.shutdown(socket.SHUT_RDWR)
                self._ended()
            self._sessions += 1
            self._session = _Session(self._sessions, connection)
            return self._session

    def _transact(self, connection: socket.socket) -> None:
        """One operation: request, data from the host, data to the host, response."""
        kind, payload = _read_packet(connection)
        if kind != Packet.COMMAND_REQUEST:
            return
        request = parse_request(payload)
        data = _read_data(connection) if request.host_sends_data else b""
        self._hold_while_frozen(connection)
        reply, fault = self._respond(request, data)
        if fault is not None and fault.kind == "drop":
            self.drop()
            raise _ConnectionLost
        if fault is not None and fault.kind == "stall":
            self._hold(connection, fault)
        self._hold_while_frozen(connection)
        if reply.data is not None:
            cuts = fault is not None and fault.kind == "cut"
            self._send_data(connection, request.transaction, memoryview(reply.data).cast("B"), cuts=cuts)
            if cuts:
                self.drop()
                raise _ConnectionLost
        connection.sendall(response(reply.code, request.transaction, reply.params))

    def _send_data(self, connection: socket.socket, transaction: int, data: memoryview, *, cuts: bool) -> None:
        """The data phase; `cuts` announces everything and sends half."""
        last_byte = len(data) // 2 if cuts else len(data)
        buffers: list[bytes | memoryview] = []
        waiting = sent = 0
        for head, block in data_packets(transaction, data):
            part = block[: max(0, last_byte - sent)]
            buffers += [head, part]
            sent += len(part)
            waiting += len(part)
            is_over = cuts and sent >= last_byte
            if waiting >= CHUNK_BYTES or is_over:
                self._send(connection, buffers, waiting)
                buffers, waiting = [], 0
            if is_over:
                return
        self._send(connection, buffers, waiting)

    def _send(self, connection: socket.socket, buffers: list[bytes | memoryview], count: int) -> None:
        self._hold_while_frozen(connection)
        while buffers:
            sent = connection.sendmsg(buffers)
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.pop(0))
            if buffers:
                buffers[0] = memoryview(buffers[0])[sent:]
        self._pacer.sent(count)

    def _hold_while_frozen(self, connection: socket.socket) -> None:
        while self._faults.active("freeze") is not None:
            self._faults.wait(HOLD_POLL_S)
            if _peer_has_gone(connection):
                raise _ConnectionLost

    def _hold(self, connection: socket.socket, fault: Fault) -> None:
        """Answer nothing until the fault's time is over, faults are cleared, or the host gives up."""
        generation = self._faults.generation
        end_s = time.monotonic() + (float("inf") if fault.stall_s is None else fault.stall_s)
        while self._faults.generation == generation and (left_s := end_s - time.monotonic()) > 0:
            self._faults.wait(min(HOLD_POLL_S, left_s))
            if _peer_has_gone(connection):
                raise _ConnectionLost


def _peer_has_gone(connection: socket.socket) -> bool:
    """Whether the other side has closed, even when bytes of it are still unread."""
    poll = select.poll()
    try:
        poll.register(connection, select.POLLRDHUP)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


def _read(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise _ConnectionLost
        data += part
    return bytes(data)


def _read_packet(connection: socket.socket) -> tuple[int, bytes]:
    size, kind = struct.unpack("<II", _read(connection, HEADER_BYTES))
    if not HEADER_BYTES <= size <= MAX_HOST_PACKET_BYTES:
        raise ValueError(f"packet of {size} bytes, but expected {HEADER_BYTES} to {MAX_HOST_PACKET_BYTES}")
    return kind, _read(connection, size - HEADER_BYTES)


def _read_data(connection: socket.socket) -> bytes:
    """The data phase from the host, without its headers."""
    data = b""
    while True:
        kind, payload = _read_packet(connection)
        if kind in (Packet.DATA, Packet.END_DATA):
            data += payload[4:]
        if kind == Packet.END_DATA:
            return data
