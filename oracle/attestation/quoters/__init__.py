"""
One quoter per platform interface.

    gramine      SGX        files in /dev/attestation
    configfs     TDX, SNP   directories in /sys/kernel/config/tsm/report
    dstack       TDX        HTTP over the guest agent's Unix socket
    nitro        Nitro      ioctl on /dev/nsm
    simulated    any DCAP   the development PKI; vouches for nothing

`checks` looks at what a platform hands over before it leaves the enclave, `sealing` makes keys of platform secrets,
`detection` chooses. Backends that take third-party packages import them when made, never before.
"""
