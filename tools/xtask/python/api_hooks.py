"""What schemathesis must know of the formats of the HTTP API: texts of each that the node takes.

Why: a rule about bytes and visible letters is more than a schema can say, so the description names it as a
format (docs/API.md). Not here: what is refused, which schemathesis makes by itself.
"""

import base64
import json
import string

import schemathesis
from hypothesis import strategies as st

LETTERS = string.ascii_letters + string.digits + "/-_."


def text(low, high, letters=LETTERS):
    return st.text(alphabet=letters, min_size=low, max_size=high)


for name, low, high in [
    ("room-name", 1, 24),
    ("room-prefix", 0, 4),
    ("display-name", 1, 24),
    ("chat-text", 1, 64),
    ("attachment", 1, 64),
    ("state-key", 1, 24),
    ("holder", 1, 24),
    ("user", 1, 24),
    ("reason", 0, 24),
    ("authority", 1, 24),
]:
    schemathesis.openapi.format(name, text(low, high))

schemathesis.openapi.format("env", text(1, 16, string.ascii_lowercase + string.digits))
schemathesis.openapi.format(
    "cursor", text(1, 12).map(lambda after: base64.urlsafe_b64encode(after.encode()).decode().rstrip("="))
)



@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """A bulk of one line, which is what the description says of a line."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.hook
def filter_case(ctx, case):
    """Leave out what the description cannot say: a message without a text and an attachment is refused, and a
    bulk with a wrong line is answered 200, since each line has its own answer.
    """
    body, meta = case.body, case.meta
    is_message = isinstance(body, dict) and "author" in body
    if is_message and body.get("text") is None and body.get("attachment") is None:
        return False
    is_bulk = case.operation.label == "POST /v1/messages"
    return not (is_bulk and meta is not None and meta.generation.mode.is_negative)


schemathesis.openapi.format("history-cursor", st.just(base64.urlsafe_b64encode(b"1:0").decode().rstrip("=")))
schemathesis.openapi.format("number-cursor", st.just(base64.urlsafe_b64encode(b"0").decode().rstrip("=")))
