"""
Whom the enclave believes about names on the web: the certificate authorities of one file, which is measured.

The file is Mozilla's list as the locked package `certifi` has it, kept here because machines exist that add their own
authorities to every certifi they find. Another one (`--roots`) makes another measurement.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Final

from oracle.errors import ConfigurationError

ROOTS: Final = Path(__file__).parent / "roots.pem"
_NO_CHECK_TIME: Final = 0x20_0000  # X509_V_FLAG_NO_CHECK_TIME: validity is checked in `tls`, at a time that we choose
_PROTOCOL: Final = "http/1.1"


def tls_context(roots: Path = ROOTS) -> ssl.SSLContext:
    """
    The settings of every connection: TLS 1.2 or newer, a chain to `roots`, the host's name in the certificate.

    A handshake is begun, because Python loads a codec for host names on the first.

    Raises:
        ConfigurationError: the file is missing or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT | _NO_CHECK_TIME
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.set_alpn_protocols([_PROTOCOL])
    try:
        context.load_verify_locations(cadata=roots.read_text("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigurationError(f"{roots} holds no certificate authorities in PEM: {error}") from error
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="warm.example").do_handshake()
    return context
