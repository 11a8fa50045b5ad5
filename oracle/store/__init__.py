"""The pool's memory: requests and their states, the cursor, receipts, enclaves, relay transactions."""
