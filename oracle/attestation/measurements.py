"""
One name for one build: the hash of the registers that say what runs, and of the switches that change what it may do.

The formulas are the same on chain (`contracts/attestation/`). A domain per technology keeps them apart. What names the
machine or its firmware (SVNs, MRSEAM, chip id) is not in here: that is for TCB checks, and changes without the build.
"""

from __future__ import annotations

from typing import Final

from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError
from oracle.types.ids import MeasurementId

SGX_MEASUREMENT_DOMAIN: Final = keccak256(b"Adyton SGX measurement v1")
TDX_MEASUREMENT_DOMAIN: Final = keccak256(b"Adyton TDX measurement v1")
SNP_MEASUREMENT_DOMAIN: Final = keccak256(b"Adyton SEV-SNP measurement v1")
NITRO_MEASUREMENT_DOMAIN: Final = keccak256(b"Adyton Nitro measurement v1")

_PCR_BYTES: Final = 48
# (first, end) in the 384-byte enclave report: MISCSELECT, ISVEXTPRODID, the flags of ATTRIBUTES, MRENCLAVE, MRSIGNER,
# CONFIGID, ISVPRODID to CONFIGSVN, ISVFAMILYID. XFRM is left out: it names the processor's features.
_SGX_PARTS: Final = ((16, 20), (32, 48), (48, 56), (64, 96), (128, 160), (192, 256), (256, 262), (304, 320))
# in the report of at least 672 bytes: POLICY, FAMILY_ID, IMAGE_ID, VMPL, MEASUREMENT, HOST_DATA, ID_KEY_DIGEST,
# AUTHOR_KEY_DIGEST, GUEST_SVN
_SNP_PARTS: Final = (
    (8, 16),
    (16, 32),
    (32, 48),
    (48, 52),
    (144, 192),
    (192, 224),
    (224, 272),
    (272, 320),
    (4, 8),
)


def sgx_measurement(report: bytes) -> MeasurementId:
    """Of an enclave report, 384 bytes."""
    return _hash_parts(SGX_MEASUREMENT_DOMAIN, report, _SGX_PARTS, 384)


def tdx_measurement(report: bytes) -> MeasurementId:
    """
    Of a TD report 1.0 or 1.5, at least 584 bytes: TD attributes, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG and
    RTMR0 to 3, which lie together.
    """
    return _hash_parts(TDX_MEASUREMENT_DOMAIN, report, ((120, 520),), 584)


def snp_measurement(report: bytes) -> MeasurementId:
    """Of an attestation report, at least 672 bytes."""
    return _hash_parts(SNP_MEASUREMENT_DOMAIN, report, _SNP_PARTS, 672)


def nitro_measurement(pcr0: bytes, pcr1: bytes, pcr2: bytes) -> MeasurementId:
    """Of the three registers that cover image, kernel with boot files, and application: 48 bytes each."""
    if any(len(pcr) != _PCR_BYTES for pcr in (pcr0, pcr1, pcr2)):
        raise EncodingError(f"PCR0, PCR1 and PCR2 have {_PCR_BYTES} bytes each")
    return MeasurementId(keccak256(NITRO_MEASUREMENT_DOMAIN + pcr0 + pcr1 + pcr2))


def dcap_platform(ppid: bytes, pce_id: bytes) -> bytes:
    """The machine behind a PCK certificate; its name survives TCB recovery."""
    return keccak256(ppid + pce_id)


def _hash_parts(domain: bytes, report: bytes, parts: tuple[tuple[int, int], ...], size: int) -> MeasurementId:
    if len(report) < size:
        raise EncodingError(f"the report has {len(report)} bytes, at least {size} are measured")
    return MeasurementId(keccak256(domain + b"".join(report[first:end] for first, end in parts)))
