"""What the stand-in's routes share: headers, refusals, files, a body with a limit."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

HERE = Path(__file__).parent
NOT_KEPT = {"Cache-Control": "no-store"}


def refused(status: int, why: str) -> Response:
    """An answer that says why not."""
    return JSONResponse({"error": why}, status, NOT_KEPT)


def text(name: str) -> str:
    """A file of this folder."""
    return (HERE / name).read_text("utf-8")


async def read(request: Request, limit: int) -> bytes:
    """The body, or its beginning: a little more than `limit`, so that it is seen to be too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)
