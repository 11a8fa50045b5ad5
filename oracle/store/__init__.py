"""The pool's memory: requests and their states, the cursor, receipts, enclaves, relay transactions."""
The pool's memory: requests and their states, the cursor, receipts, enclaves, and every transaction before it is sent.
"""
