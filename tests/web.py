"""A small internet on the loopback interface: an authority, servers that do as a test says, names that lead there."""

from __future__ import annotations

import atexit
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oracle.jobs.dialer import Dialer

NOW_S = 1_700_000_000  # when requests of tests are made
HOST = "prices.example"
SERVER_TIMEOUT_S = 20.0

Behaviour = Callable[[ssl.SSLSocket, bytes], None]  # what a server does with a request that it read


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Issues certificates."""

    def __init__(self, name: str) -> None:
        self._name, self._key = _name(name), ec.generate_private_key(ec.SECP256R1())
        self._made: dict[tuple[str, int, int], tuple[ssl.SSLContext, bytes]] = {}
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self.certificate = (
            self._builder(self._name, self._key.public_key(), -86_400, 10 * 365 * 86_400)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, first_s: int, last_s: int
    ) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(NOW_S, UTC)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(seconds=first_s))
            .not_valid_after(now + timedelta(seconds=last_s))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(own, critical=False)
        )

    def roots_file(self) -> Path:
        """A PEM file with this authority alone."""
        with tempfile.NamedTemporaryFile(prefix="adyton-roots-", suffix=".pem", delete=False) as file:
            file.write(self.certificate.public_bytes(Encoding.PEM))
        atexit.register(Path(file.name).unlink, missing_ok=True)
        return Path(file.name)

    def identity(self, host: str = HOST, first_s: int = -86_400, last_s: int = 86_400) -> tuple[ssl.SSLContext, bytes]:
        """A server's settings, and the hash of its certificate, valid from and to these seconds after `NOW_S`."""
        wanted = (host, first_s, last_s)
        if wanted not in self._made:
            self._made[wanted] = self._identity(*wanted)
        return self._made[wanted]

    def _identity(self, host: str, first_s: int, last_s: int) -> tuple[ssl.SSLContext, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(host), key.public_key(), first_s, last_s)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.write(certificate.public_bytes(Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        return context, sha256(certificate.public_bytes(Encoding.DER)).digest()


AUTHORITY, OTHER_AUTHORITY = Authority("Test root"), Authority("Root of somebody else")


def answers(body: bytes = b"", *headers: str, status: str = "200 OK") -> Behaviour:
    """A server that answers all requests so."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers])
    return sends(head.encode() + b"\r\n\r\n" + body)


def sends(data: bytes) -> Behaviour:
    """A server that sends these bytes and ends the stream properly."""

    def behave(stream: ssl.SSLSocket, _request: bytes) -> None:
        stream.sendall(data)
        stream.unwrap()

    return behave


def cuts_off(data: bytes) -> Behaviour:
    """A server, or whoever is in between, that sends these bytes and closes the connection without a word."""

    def behave(stream: ssl.SSLSocket, _request: bytes) -> None:
        stream.sendall(data)

    return behave


def redirects(to: str, status: str = "302 Found") -> Behaviour:
    """A server that sends everybody elsewhere."""
    return answers(b"", f"location: {to}", status=status)


@dataclass
class Server:
    """A TLS server on a port of its own, until the end of the test."""

    behaviour: Behaviour
    tls: ssl.SSLContext
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        """Answer until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(SERVER_TIMEOUT_S)
        with suppress(OSError), self.tls.wrap_socket(connection, server_side=True) as stream:
            request = b""
            while b"\r\n\r\n" not in request or len(request) < _size(request):
                received = stream.recv(65_536)
                if not received:
                    return
                request += received
            self.requests.append(request)
            self.behaviour(stream, request)


def _size(request: bytes) -> int:
    head, _, _ = request.partition(b"\r\n\r\n")
    lines = [line.split(b": ") for line in head.lower().split(b"\r\n")[1:]]
    return len(head) + 4 + int(dict(lines).get(b"content-length", b"0"))


@contextmanager
def serving(behaviour: Behaviour, identity: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for `HOST`, unless another identity is given."""
    server = Server(behaviour, identity or AUTHORITY.identity()[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


@dataclass
class Net:
    """Where names lead."""

    places: dict[str, tuple[str, int]] = field(default_factory=dict)

    def resolve(self, host: str, _port: int) -> list[tuple[str, int]]:
        """As a resolver: the place of a name."""
        if host not in self.places:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [self.places[host]]

    def dialer(self) -> Dialer:
        """A host that reaches the loopback interface."""
        return Dialer(resolve=self.resolve, insecure_loopback=True)


@contextmanager
def net(*behaviours: Behaviour, host: str = HOST) -> Iterator[tuple[Net, list[Server]]]:
    """Servers `host`, then `2.host`, `3.host` and so on, each with a good certificate."""
    made, servers = Net(), list[Server]()
    with contextmanager(lambda: _all(behaviours, host, made, servers))():
        yield made, servers


def _all(behaviours: tuple[Behaviour, ...], host: str, made: Net, servers: list[Server]) -> Iterator[None]:
    if len(servers) == len(behaviours):
        yield
        return
    name = host if not servers else f"{len(servers) + 1}.{host}"
    with serving(behaviours[len(servers)], AUTHORITY.identity(name)[0]) as server:
        servers.append(server)
        made.places[name] = ("127.0.0.1", server.port)
        yield from _all(behaviours, host, made, servers)
