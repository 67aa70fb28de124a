"""What the dashboard's server answers, and to whom: the settings that Streamlit has no option for.

The dashboard has no login, and whoever reaches it can do what its user can. Two ways lead to it
from any page that the user's browser has open, although it listens on 127.0.0.1 alone:

- DNS rebinding: the page's own host name is made to point to 127.0.0.1, so that the browser takes
  the dashboard for that page's server. Requests then carry that name as their Host, and are
  refused. Streamlit itself checks the Host (``server.allowedHosts``) of the WebSocket alone.
- Framing: the page shows the dashboard in a frame of its own and has the user press its buttons
  (clickjacking).

The headers also keep a page from fetching pictures from elsewhere, whatever text of a run slipped
through as Markdown.

References:
    Protecting Browsers from DNS Rebinding Attacks (Jackson, Barth, Bortz, Shao, Boneh, 2007),
    https://crypto.stanford.edu/dns/; Content Security Policy Level 3 (W3C),
    https://www.w3.org/TR/CSP3/
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

POLICY = (
    "frame-ancestors 'none'; img-src 'self' data: blob:; media-src 'self' data: blob:; object-src"
    " 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REFUSED = (
    "The dashboard does not answer to this host name. If it is the right one, name it in"
    " server.allowedHosts: streamlit run dashboard.py --server.allowedHosts NAME"
)


class Guard:
    """Refuses foreign hosts, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif is_allowed(
            Headers(scope=scope).get("host", ""), config.get_option("server.allowedHosts")
        ):
            await self.app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse(REFUSED, status_code=421)(scope, receive, send_guarded)


def is_allowed(host: str, allowed: list[str]) -> bool:
    """Returns whether a Host header names one of the hosts.

    ``*`` means all, and ``*.name`` those under a name.
    """
    name = _without_port(host).lower().rstrip(".")
    patterns = [pattern.strip().lower().rstrip(".") for pattern in allowed]
    return any(
        pattern == "*"
        or (
            bool(name) and (name == pattern or (pattern[:2] == "*." and name.endswith(pattern[1:])))
        )
        for pattern in patterns
    )


def _without_port(host: str) -> str:
    """Converts ``[::1]:8501`` to ``::1``, and ``localhost:8501`` to ``localhost``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host


GUARDS = (Middleware(Guard),)
"""The middleware of ``dashboard.py`` for all requests."""
