"""The vectors of protocol/vectors, read from their files; run by itself, checks that `wire` reads them as they say."""

import json
import pathlib
import struct

import wire

HERE = pathlib.Path(__file__).resolve().parents[4] / "protocol" / "vectors"


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


class Vector:
    """A frame that clients send."""

    def __init__(self, entry):
        self.bytes = bytes.fromhex(entry["hex"])
        self.alias_at = entry.get("alias_at")
        self.frame = entry.get("frame")

    def with_alias(self, alias):
        if self.alias_at is None:
            return self.bytes
        out = bytearray(self.bytes)
        struct.pack_into("<I", out, self.alias_at, alias)
        return bytes(out)


def client_frames():
    return {entry["name"]: Vector(entry) for entry in read("client.json")}


def numbers(value):
    """With numbers as the vectors write them."""
    if isinstance(value, dict):
        return {key: numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [numbers(one) for one in value]
    return str(value) if isinstance(value, int) else value


def check_batch(entry):
    body = bytes.fromhex(entry["hex"])
    if "fault" in entry:
        try:
            wire.Batch(body)
        except wire.Fault:
            return
        raise wire.Fault("the fault was not seen")
    batch = wire.Batch(body)
    position = wire.Position(**{name: int(value) for name, value in entry["before"].items()})
    if "desync" in entry["after"]:
        return check_desync(batch, position)
    batch.locate(position)
    items = entry["items"]
    assert [vars(message) for message in batch.messages] == [
        {k: v if k in ("author", "text", "attachment") else int(v) for k, v in item["message"].items()}
        for item in items if "message" in item], vars(batch)
    places = [entry for entry in batch.entries if isinstance(entry, wire.Place)]
    for place, item in zip(places, [i for i in items if "removed" in i or "act" in i], strict=True):
        assert (place.note is None) == ("removed" in item), vars(place)
        said = item.get("removed") or item["act"]
        assert [place.offset, place.skip] == [int(said["offset"]), int(said["skip"])], vars(place)
        if "act" in item:
            removes = wire.removal(place.offset, place.fields)
            assert [place.note, numbers(removes)] == [said["note"], said["removes"]], removes
    assert batch.tallies == {i["tally"]["key"]: int(i["tally"]["count"]) for i in items if "tally" in i}
    assert batch.state == {
        i["state"]["key"]: None if i["state"]["value"] is None else bytes.fromhex(i["state"]["value"])
        for i in items if "state" in i}
    assert vars(position) == {name: int(value) for name, value in entry["after"].items()}, vars(position)


def check_desync(batch, position):
    try:
        batch.locate(position)
    except wire.Fault:
        return
    raise wire.Fault("a batch out of place was taken")


def check_stream(entry):
    try:
        header = wire.read_header(bytes.fromhex(entry["hex"]), entry["frame_bytes_max"])
    except wire.Fault as fault:
        assert str(fault) == entry.get("close_name"), fault
        return
    wanted = None if entry.get("more") else (entry["header_bytes"], entry["frame_bytes"])
    assert "close" not in entry and header == wanted, header


def check_compressed(entry):
    try:
        frame = wire.opened(bytes.fromhex(entry["hex"]))
    except wire.Fault as fault:
        assert str(fault) == entry.get("close_name"), fault
        return
    assert frame == bytes.fromhex(entry["opens_to"]) + bytes(entry.get("zeros", 0)), frame[:100].hex()


def main():
    checked = 0
    for name, check in (
            ("batch.json", check_batch), ("stream.json", check_stream), ("compressed.json", check_compressed)):
        for entry in read(name):
            try:
                check(entry)
            except Exception as error:
                raise SystemExit(f"{name}: {entry['name']} ({entry['clause']}): {error!r}") from error
            checked += 1
    assert checked > 60, f"only {checked} vectors"
    print(f"{checked} vectors read")


if __name__ == "__main__":
    main()
