"""The protocol's value types: frozen, no I/O, one encoding each, shared with Solidity through `tests/vectors`."""
