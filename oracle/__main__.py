"""`python -m oracle` is `adyton`."""

from oracle.cli import main

main()
