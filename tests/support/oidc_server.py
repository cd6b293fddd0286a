"""An OpenID Connect provider on this machine: discovery, keys, and the flow by a code."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "dashboard"


class Provider:
    """Logs in whoever ``claims`` are of at the time; ``address`` is where it listens."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.address = ""
        self._key = RSAKey.generate_key(2048, {"kid": "test", "use": "sig"})
        self._asked: dict[str, dict[str, str]] = {}

    def secrets(self, dashboard: str) -> str:
        """The secrets for a dashboard at that address."""
        return "\n".join(
            (
                "[auth]",
                f'redirect_uri = "{dashboard}/oauth2callback"',
                f'cookie_secret = "{secrets.token_hex(32)}"',
                f'client_id = "{CLIENT}"',
                'client_secret = "of the test"',
                f'server_metadata_url = "{self.address}/.well-known/openid-configuration"',
            )
        )

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any] | str:
        """Its response: JSON, or a redirect."""
        if path == "/authorize":
            code = secrets.token_hex(8)
            self._asked[code] = query
            return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        if path == "/keys":
            return {"keys": [self._key.as_dict(private=False)]}
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def token(self, form: dict[str, str]) -> dict[str, Any]:
        """The tokens for a code, which is good once."""
        asked, now = self._asked.pop(form["code"]), int(time.time())
        claims = {
            "iss": self.address,
            "aud": CLIENT,
            "sub": "somebody",
            "iat": now,
            "exp": now + 600,
            "nonce": asked["nonce"],
            **self.claims,
        }
        signed = jwt.encode({"alg": "RS256", "kid": "test"}, claims, self._key)
        return {"access_token": "none", "token_type": "Bearer", "id_token": signed}


@contextmanager
def provider() -> Iterator[Provider]:
    """One that listens until the end."""
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            answer = found.get(parts.path, query)
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                self.end_headers()
            else:
                self._json(answer)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._json(found.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _json(self, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *given: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
