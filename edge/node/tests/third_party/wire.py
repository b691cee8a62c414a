"""The protocol as a stranger would read it: written from docs/PROTOCOL.md and the schema alone.

Why by hand: what two implementations by different hands agree on is what the document says.
Not here: sockets (`peers`), what is said over them (`converse`, `deliver`).
"""

import pathlib
import struct
import zlib

WELCOME, SUBSCRIBED, PUBLISHED, REFUSED, BATCH, ERROR = 0x41, 0x42, 0x44, 0x46, 0x47, 0x4D
COMPRESSED_BATCH = 0xC7
SERVER_FRAME_BYTES_MAX = 1_048_576

# The table of kinds under F-8.
KINDS = {
    0x41: "Welcome", 0x42: "Subscribed", 0x43: "Unsubscribed", 0x44: "Published", 0x45: "StateSet",
    0x46: "Refused", 0x47: "Batch", 0x48: "Snapshot", 0x49: "Gap", 0x4A: "RoomEvent", 0x4B: "Pong",
    0x4C: "GoAway", 0x4D: "Error", 0x4E: "HistoryPage", 0x61: "Personal",
}

U64_MAX = 2**64 - 1


class Fault(Exception):
    """The other side broke a clause."""


# --- the header before each frame on a stream
# --------------------------------------------------------------------


def write_header(frame_bytes):
    if frame_bytes < 126:
        return bytes([0x82, frame_bytes])
    if frame_bytes < 2**16:
        return struct.pack(">BBH", 0x82, 126, frame_bytes)
    return struct.pack(">BBQ", 0x82, 127, frame_bytes)


def read_header(buffer, frame_bytes_max):
    """The sizes of the header and of its frame, or None if bytes are missing."""
    if buffer[:1] not in (b"", b"\x82"):
        raise Fault("BadStream")
    if len(buffer) < 2:
        return None
    form = buffer[1]
    if form >= 0x80:
        raise Fault("BadStream")
    header_bytes = {126: 4, 127: 10}.get(form, 2)
    if len(buffer) < header_bytes:
        return None
    frame_bytes = form if form < 126 else int.from_bytes(buffer[2:header_bytes], "big")
    if len(write_header(frame_bytes)) != header_bytes:
        raise Fault("BadStream")
    if frame_bytes > frame_bytes_max:
        raise Fault("FrameTooLarge")
    return header_bytes, frame_bytes


# --- F-1: a kind and a FlatBuffers table, but for batches
# ---------------------------------------------------------------


class Table:
    """A frame's table: fields by their place in the schema, missing ones with their default (F-6)."""

    def __init__(self, frame):
        self.buffer = frame[1:]
        (self.at,) = struct.unpack_from("<I", self.buffer, 0)
        (back,) = struct.unpack_from("<i", self.buffer, self.at)
        self.vtable = self.at - back
        (self.vtable_bytes,) = struct.unpack_from("<H", self.buffer, self.vtable)

    def _field(self, place):
        entry = 4 + 2 * place
        if entry >= self.vtable_bytes:
            return None
        (offset,) = struct.unpack_from("<H", self.buffer, self.vtable + entry)
        return self.at + offset if offset else None

    def number(self, place, form, default=0):
        at = self._field(place)
        return default if at is None else struct.unpack_from("<" + form, self.buffer, at)[0]


class Subscribed:
    def __init__(self, frame):
        table = Table(frame)
        self.alias = table.number(1, "I")
        self.position = Position(table.number(2, "Q"), table.number(3, "Q"), table.number(5, "Q"))


class Published:
    def __init__(self, frame):
        table = Table(frame)
        self.nonce, self.epoch, self.offset = (table.number(place, "Q") for place in range(3))


def refusal(frame):
    return Table(frame).number(2, "H")


def error_code(frame):
    return Table(frame).number(0, "H")


# --- F-5, F-9: compressed frames, by the zlib that everybody has
# ----------------------------------------------------------

DEFLATE_1 = 1
DICTIONARY_1 = (pathlib.Path(__file__).resolve().parents[4] / "protocol" / "dictionary" / "1.bin").read_bytes()


def hello(capabilities):
    """A `Hello` that says nothing else: root, vtable of three places, table with the third (capabilities, 64 bits)."""
    return bytes([0x01]) + struct.pack("<IHHHHHHiIQ", 16, 10, 16, 0, 0, 8, 0, 12, 0, capabilities)


def capabilities(welcome):
    return Table(welcome).number(1, "Q")


def opened(frame):
    """The plain frame."""
    if frame[:1] != bytes([COMPRESSED_BATCH]):
        return frame
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY_1)
    try:
        body = inflate.decompress(frame[1:], SERVER_FRAME_BYTES_MAX)
    except zlib.error as error:
        raise Fault("Malformed") from error
    if len(body) >= SERVER_FRAME_BYTES_MAX:
        raise Fault("FrameTooLarge")
    if not inflate.eof or inflate.unused_data:
        raise Fault("Malformed")
    return bytes([BATCH]) + body


# --- B: the body of a batch, and A: where a reader stands in the log
# ------------------------------------------------


class Position:
    def __init__(self, epoch, offset, time_ms):
        self.epoch, self.offset, self.time_ms = epoch, offset, time_ms


class Message:
    def __init__(self):
        self.skip = self.reply_back = self.folded = 0
        self.author = self.text = self.attachment = ""
        self.role = 0
        self.offset = None


class Reader:
    """Bytes that are read from the first to the last."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def _byte(self):
        return self._bytes(1)[0]

    def _bytes(self, count):
        if count > len(self.body) - self.at:
            raise Fault("the body ends too early")
        self.at += count
        return self.body[self.at - count : self.at]

    def _varint(self):
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if value > U64_MAX or (byte == 0 and shift):
            raise Fault("a varint of more than 64 bits, or not in its shortest form")
        return value

    def _text(self):
        end = self.body.find(b"\0", self.at)
        if end < 0:
            raise Fault("a text without an end")
        raw = self._bytes(end + 1 - self.at)[:-1]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Fault("a text that is not UTF-8") from error


class Place:
    """An entry that is no message: what is left of a removed one (M-3), or an act (M-4)."""

    def __init__(self, skip, note=None, fields=None):
        self.skip, self.note, self.fields = skip, note, fields
        self.offset = None


def removal(at, fields):
    """What the act at an offset removes (M-4); nothing where its fields are not understood."""
    reader = Reader(fields)
    try:
        kind = reader._byte()
        if kind == 1:
            back = reader._varint()
            return {"one": at - back} if 0 < back <= at else None
        if kind == 2:
            begin = max(at - reader._varint(), 0)
            names = [reader._text() for _ in range(reader._varint())]
            return {"names": names, "from": begin, "but": runs(at, reader)}
        if kind == 3:
            return {"runs": runs(at, reader)}
        if kind == 4:
            return {"all_from": max(at - reader._varint(), 0)}
    except Fault:
        pass
    return None


def runs(at, reader):
    found = []
    for _ in range(reader._varint()):
        end = max(at - reader._varint(), 0)
        at = max(end - reader._varint(), 0)
        found.append([at, end])
    return found


class Batch(Reader):
    """A body, which is all that stands behind the kind, read from the first byte to the last."""

    def __init__(self, body):
        super().__init__(body)
        self.check, self.time, self.omitted, self.messages, self.tallies = None, 0, 0, [], {}
        self.version, self.state, self.entries = None, {}, []
        self.alias = self._varint()
        if self.alias >= 2**32:
            raise Fault("an alias over 32 bits")
        head = self._varint()
        count, has_omitted, has_tallies, has_state, has_extension = (
            head >> 4, head & 1, head & 2, head & 4, head & 8)
        if has_extension:
            self._bytes(self._varint())
        if count or has_omitted:
            self.check, self.time = self._byte(), self._varint()
            self.omitted = self._varint() if has_omitted else 0
            # Not a list of `count` places: the number is the peer's, and the bytes for it may not be there.
            for _ in range(count):
                entry = self._message()
                self.entries.append(entry)
                if isinstance(entry, Message):
                    self.messages.append(entry)
        if has_tallies:
            for _ in range(self._varint()):
                key = self._text()
                self.tallies[key] = self._varint()
        if has_state:
            self._state()
        if self.at != len(body):
            raise Fault("bytes after the last section")

    def locate(self, position):
        """Gives each message its offset and moves the position (A-2, A-3)."""
        if self.check is None:
            return
        if self.check != position.offset & 0xFF:
            raise Fault("the batch does not continue the position")
        position.time_ms = min(position.time_ms + self.time, U64_MAX)
        for message in self.entries:
            message.offset = min(position.offset + message.skip, U64_MAX)
            position.offset = min(message.offset + 1, U64_MAX)
        position.offset = min(position.offset + self.omitted, U64_MAX)

    def _message(self):
        message, control = Message(), self._byte()
        message.role = control & 7
        message.skip = self._varint() if control & 0x40 else 0
        message.reply_back = self._varint() if control & 0x08 else 0
        message.folded = self._varint() if control & 0x20 else 0
        message.author, message.text = self._text(), self._text()
        message.attachment = self._text() if control & 0x10 else ""
        extension = self._bytes(self._varint()) if control & 0x80 else b""
        if message.role == 6:
            return Place(message.skip)
        if message.role == 7:
            return Place(message.skip, message.text, extension)
        return message

    def _state(self):
        count, self.version = self._varint(), self._varint()
        for _ in range(count):
            removed, key = self._byte(), self._text()
            if removed > 1:
                raise Fault("neither set nor removed")
            self.state[key] = None if removed else self._bytes(self._varint())
