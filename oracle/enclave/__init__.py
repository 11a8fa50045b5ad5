"""Measured code: the runtime that executes programs and signs receipts. Everything it can import is trusted."""
