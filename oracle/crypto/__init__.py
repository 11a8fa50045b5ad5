"""Hashing, EIP-712 and ECDSA: thin, checked against published vectors, no I/O."""
