"""Intel's service in small: the collateral of one development machine over HTTP, at any status, or out of order."""

from __future__ import annotations

import contextlib
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from oracle.attestation.development.collateral import UP_TO_DATE
from oracle.attestation.development.dcap import DevelopmentPki

_ISSUED_BEFORE_S = 60
Answer = tuple[bytes, dict[str, str]]


@dataclass
class Intel:
    """What it publishes now. Documents are a minute old, by the clock `now_s`."""

    pki: DevelopmentPki
    now_s: Callable[[], int]
    status: str = UP_TO_DATE
    evaluation_number: int = 18
    is_away: bool = False
    url: str = ""

    def answer(self, path: str) -> Answer | None:
        """Body and headers, or None if there is no such thing."""
        made = self.pki.collateral(
            "TDX" if path.startswith("/tdx/") else "SGX",
            self.now_s() - _ISSUED_BEFORE_S,
            status=self.status,
            evaluation_number=self.evaluation_number,
        )
        signer = urllib.parse.quote(made.tcb_info_issuer_chain)
        if "/pckcrl" in path:
            return made.pck_crl, {"SGX-PCK-CRL-Issuer-Chain": urllib.parse.quote(made.pck_crl_issuer_chain)}
        if "/rootcacrl" in path:
            return made.root_ca_crl.hex().encode(), {}
        if "/tcb?" in path:
            return made.tcb_info_document().encode(), {"TCB-Info-Issuer-Chain": signer}
        if "/qe/identity" in path:
            return made.qe_identity_document().encode(), {"SGX-Enclave-Identity-Issuer-Chain": signer}
        return None


@contextlib.contextmanager
def publishing(intel: Intel) -> Iterator[Intel]:
    """`intel` at a URL of its own, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = None if intel.is_away else intel.answer(self.path)
            body, headers = found or (b"", {})
            self.send_response(200 if found else 503)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    intel.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield intel
    finally:
        server.shutdown()
        server.server_close()
