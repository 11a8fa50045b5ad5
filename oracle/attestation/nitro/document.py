"""
AWS Nitro attestation documents: COSE_Sign1 around a CBOR map. Parsing decides nothing; whatever the bytes, it raises
`InvalidInputError` and nothing else.

    [protected: << {1: -35} >>, unprotected: {}, payload: << map >>, signature: r || s, 96 bytes], tag 18 or none
    map   module_id text | digest "SHA384" | timestamp ms | pcrs {index: 48 bytes} | certificate DER | cabundle [DER]
          and, or null: public_key, user_data, nonce

Refused: members that are not named here, a member twice, tags, anything nested deeper, anything after the end. The
hypervisor writes maps of indefinite length, so these are read.
Source: AWS Nitro Enclaves, "Verifying the root of trust"; RFC 9052 (COSE), RFC 8949 (CBOR).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import cbor2

from oracle.attestation.reader import require_size
from oracle.errors import EncodingError

MAX_DOCUMENT_BYTES: Final = 32_768
MAX_CERTIFICATE_BYTES: Final = 2_048
MAX_BUNDLE: Final = 8
MAX_FIELD_BYTES: Final = 1_024
MAX_PCR: Final = 31
PCR_BYTES: Final = 48
SIGNATURE_BYTES: Final = 96
_MAX_MODULE_ID: Final = 256
_MAX_DEPTH: Final = 4
_COSE_SIGN1_TAG: Final = b"\xd2"
_ES384: Final = bytes.fromhex("a1013822")  # {1: -35}
_REQUIRED: Final = frozenset({"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"})
_OPTIONAL: Final = frozenset({"public_key", "user_data", "nonce"})
# all tags that cbor2 would read by itself
_TAGS: Final = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)


@dataclass(frozen=True, slots=True)
class NitroDocument:
    """The parts of a document."""

    protected: bytes
    payload: bytes
    signature: bytes
    module_id: str
    timestamp_ms: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]  # root first
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    @property
    def signed(self) -> bytes:
        """The bytes under the signature: COSE's Sig_structure."""
        return cbor2.dumps(["Signature1", self.protected, b"", self.payload])

    @property
    def is_debug(self) -> bool:
        """Whether the host may read the enclave's console: AWS then zeroes the registers that name the build."""
        return any(not self.pcrs[index].strip(b"\0") for index in (0, 1, 2))


def parse_document(content: bytes) -> NitroDocument:
    """
    The document that is `content`.

    Raises:
        EncodingError: not such a document.
        LimitExceededError: over 32 KiB.
    """
    require_size(content, MAX_DOCUMENT_BYTES, "a Nitro document")
    outer = _decode(content.removeprefix(_COSE_SIGN1_TAG), "the document")
    if not isinstance(outer, list) or len(outer) != 4:
        raise EncodingError("the document is not a COSE_Sign1 array of four")
    protected, unprotected, payload, signature = outer
    if protected != _ES384 or unprotected != {}:
        raise EncodingError("the COSE headers are not those of ES384")
    _octets(payload, "the payload", MAX_DOCUMENT_BYTES)
    if len(_octets(signature, "the signature", SIGNATURE_BYTES)) != SIGNATURE_BYTES:
        raise EncodingError(f"the signature has {len(signature)} bytes, not {SIGNATURE_BYTES}")
    return _parse_payload(protected, payload, signature)


def _parse_payload(protected: bytes, payload: bytes, signature: bytes) -> NitroDocument:
    members = _decode(payload, "the payload")
    if not isinstance(members, dict) or not _REQUIRED <= members.keys() <= _REQUIRED | _OPTIONAL:
        raise EncodingError("the payload has not the members of a Nitro document")
    module_id, timestamp_ms = members["module_id"], members["timestamp"]
    if not isinstance(module_id, str) or not 0 < len(module_id) <= _MAX_MODULE_ID:
        raise EncodingError("module_id is not a text of 1 to 256 characters")
    if type(timestamp_ms) is not int or not 0 < timestamp_ms < 1 << 53:
        raise EncodingError("timestamp is not a number of milliseconds")
    if members["digest"] != "SHA384":
        raise EncodingError("digest is not SHA384")
    bundle = members["cabundle"]
    if not isinstance(bundle, list) or not 0 < len(bundle) <= MAX_BUNDLE:
        raise EncodingError(f"cabundle is not a list of 1 to {MAX_BUNDLE} certificates")
    return NitroDocument(
        protected,
        payload,
        signature,
        module_id,
        timestamp_ms,
        _pcrs(members["pcrs"]),
        _octets(members["certificate"], "certificate", MAX_CERTIFICATE_BYTES),
        tuple(_octets(certificate, "a certificate of cabundle", MAX_CERTIFICATE_BYTES) for certificate in bundle),
        *(_optional(members.get(name), name) for name in ("public_key", "user_data", "nonce")),
    )


def _pcrs(pcrs: Any) -> Mapping[int, bytes]:
    if not isinstance(pcrs, dict) or not {0, 1, 2} <= pcrs.keys():
        raise EncodingError("pcrs is not a map with PCR 0, 1 and 2")
    for index, value in pcrs.items():
        if type(index) is not int or not 0 <= index <= MAX_PCR:
            raise EncodingError(f"there is no PCR {str(index)[:40]}")
        if len(_octets(value, f"PCR {index}", PCR_BYTES)) != PCR_BYTES:
            raise EncodingError(f"PCR {index} has {len(value)} bytes, not {PCR_BYTES}")
    return dict(pcrs)


def _octets(value: Any, what: str, limit: int) -> bytes:
    if type(value) is not bytes:
        raise EncodingError(f"{what} is not a byte string")
    require_size(value, limit, what)
    return value


def _optional(value: Any, what: str) -> bytes | None:
    return None if value is None else _octets(value, what, MAX_FIELD_BYTES)


def _decode(content: bytes, what: str) -> Any:
    stream = io.BytesIO(content)
    try:
        decoder = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_tag,
            semantic_decoders=dict.fromkeys(_TAGS, _refuse_known_tag),
            read_size=1,
            max_depth=_MAX_DEPTH,
            allow_duplicate_keys=False,
        )
        value = decoder.decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError, RecursionError, EOFError) as error:
        raise EncodingError(f"{what} is not CBOR as expected: {error}"[:300]) from error
    if stream.tell() != len(content):
        raise EncodingError(f"{len(content) - stream.tell()} bytes follow {what}")
    return value


def _refuse_tag(tag: cbor2.CBORTag, _immutable: bool) -> NoReturn:
    raise cbor2.CBORDecodeError(f"tag {tag.tag} has no place here")


def _refuse_known_tag(_decoder: Any) -> NoReturn:
    raise cbor2.CBORDecodeError("tags have no place here")
