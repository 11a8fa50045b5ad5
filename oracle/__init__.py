"""Adyton: a coprocessor for EVM chains. Contracts ask, enclaves answer, the chain checks the signature."""
