"""What schemathesis must know to send our file formats; loaded by it, not by us (see fuzz.py)."""

from typing import Any

import orjson
import schemathesis


@schemathesis.serializer(
    "application/x-ndjson", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream", "text/csv"
)
def file_body(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Bytes and text as they are, anything else as JSON: what no such file would hold has to be refused as well."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else orjson.dumps(value, default=str)
