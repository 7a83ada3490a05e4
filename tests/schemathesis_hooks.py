"""What schemathesis has to learn for the port for operators."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def json_lines(_context, value):
    """The document calls the rows of an import a text."""
    return value if isinstance(value, bytes) else str(value).encode()
