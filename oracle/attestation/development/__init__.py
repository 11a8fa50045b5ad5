"""
A stand-in for the vendors' factories: everything that real hardware and its vendor would sign, under a public seed.

What is made here is byte-exact, so the same verifiers, on chain and off, run in development and in production and
differ by the root that they trust. Whoever knows the seed can forge everything: these roots must be trusted by nothing
that matters. Organisation names say so in every certificate.

    dcap      Intel SGX and TDX: `DevelopmentPki` makes certificates, collateral and quotes of one platform
    snp       AMD SEV-SNP: ARK, ASK, VCEK and attestation reports
    nitro     AWS Nitro: certificates and attestation documents

Everything but RSA keys is a function of the seed alone.
"""
