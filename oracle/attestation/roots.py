"""
The roots of trust: SHA-256 of each vendor's self-signed certificate. Whoever holds such a key can forge evidence.

Intel: https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer. AMD: the ARKs
that https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain ends in. AWS: the root published with the Nitro
Enclaves documentation, https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip.
"""

from __future__ import annotations

from typing import Final

INTEL_SGX_ROOT: Final = bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")
AMD_ARK_MILAN: Final = bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd")
AMD_ARK_GENOA: Final = bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1")
AMD_ARK_TURIN: Final = bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a")
AWS_NITRO_G1: Final = bytes.fromhex("641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")

VENDOR_ROOTS: Final = frozenset({INTEL_SGX_ROOT, AMD_ARK_MILAN, AMD_ARK_GENOA, AMD_ARK_TURIN, AWS_NITRO_G1})
