"""Intel's evidence, SGX and TDX: quotes, collateral, trimming for the chain, verification."""
