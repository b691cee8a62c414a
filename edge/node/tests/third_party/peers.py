"""Clients by other people: websockets and aioquic, made to look alike.

Invariant: nothing here knows what a frame means; every wait ends after PATIENCE_S.
Not here: certificates are not checked, since the tests' node makes its own at each start (over WebSocket its hash is).
"""

import asyncio
import hashlib
import ssl

import wire
from aioquic.asyncio import QuicConnectionProtocol, connect as quic_connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed

# Far longer than anything takes on a busy machine.
PATIENCE_S = 20
SERVER_FRAME_BYTES_MAX = 1_048_576


class Closed(Exception):
    """The connection ended: by a code of ours, by one of WebSocket's own, or otherwise."""

    def __init__(self, whose, code):
        super().__init__(f"{whose} {code}")
        self.whose, self.code = whose, code


class WebSocket:
    """A session over WebSocket, by websockets."""

    @classmethod
    async def open(cls, url, fingerprint=None):
        self = cls()
        options = {"compression": None, "subprotocols": ["grandstand.v1"], "proxy": None}
        if url.startswith("wss:"):
            options["ssl"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            options["ssl"].check_hostname, options["ssl"].verify_mode = False, ssl.CERT_NONE
        self.socket = await asyncio.wait_for(ws_connect(url, **options), PATIENCE_S)
        assert self.socket.subprotocol == "grandstand.v1", self.socket.subprotocol
        if fingerprint:
            shown = self.socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert hashlib.sha256(shown).hexdigest() == fingerprint.replace(":", "").lower()
        return self

    async def send(self, frame):
        await self._send(bytes(frame))

    async def send_text(self, text):
        await self._send(text)

    async def _send(self, message):
        try:
            await asyncio.wait_for(self.socket.send(message), PATIENCE_S)
        except ConnectionClosed:
            pass  # Shown by the next read.

    async def next(self):
        try:
            message = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise Closed("no close frame", None) from closed
            code = closed.rcvd.code
            raise (Closed("ours", code - 4000) if code >= 4000 else Closed("websocket", code)) from closed
        assert isinstance(message, bytes), "the node sent a text message"
        return message

    async def close(self):
        await asyncio.wait_for(self.socket.close(), PATIENCE_S)


class _Protocol(QuicConnectionProtocol):
    """Hands on what comes: bytes of stream 0, then the end."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.arrived = asyncio.Queue()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            assert event.stream_id == 0, f"the node opened stream {event.stream_id}"
            self.arrived.put_nowait(event.data)
        elif isinstance(event, ConnectionTerminated):
            # Without a frame type the close is the application's.
            whose = "ours" if event.frame_type is None else "transport"
            self.arrived.put_nowait(Closed(whose, event.error_code))


class Quic:
    """A session over QUIC, by aioquic: one bidirectional stream (Q-2), a header before each frame (Q-3)."""

    @classmethod
    async def open(cls, address, _fingerprint=None):
        self = cls()
        host, _, port = address.rpartition(":")
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["grandstand/1"])
        configuration.verify_mode = ssl.CERT_NONE
        self.context = quic_connect(host, int(port), configuration=configuration, create_protocol=_Protocol)
        self.protocol = await asyncio.wait_for(self.context.__aenter__(), PATIENCE_S)
        self.buffer, self.end = bytearray(), None
        self.stream = self.protocol._quic.get_next_available_stream_id()
        return self

    async def send(self, frame):
        await self.send_raw(wire.write_header(len(frame)) + bytes(frame))

    async def send_raw(self, data):
        self.protocol._quic.send_stream_data(self.stream, bytes(data))
        self.protocol.transmit()

    async def next(self):
        while True:
            header = wire.read_header(self.buffer, SERVER_FRAME_BYTES_MAX)
            if header and len(self.buffer) >= sum(header):
                frame = bytes(self.buffer[header[0] : sum(header)])
                del self.buffer[: sum(header)]
                return frame
            if self.end:
                raise self.end
            arrived = await asyncio.wait_for(self.protocol.arrived.get(), PATIENCE_S)
            if isinstance(arrived, Closed):
                self.end = arrived
            else:
                self.buffer += arrived

    async def close(self):
        # 0 is `Normal` (C-4).
        self.protocol._quic.close(error_code=0, reason_phrase="")
        self.protocol.transmit()
        await asyncio.wait_for(self.context.__aexit__(None, None, None), PATIENCE_S)
