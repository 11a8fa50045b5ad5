"""HTTPS for programs, with TLS that ends in this process, over a byte pipe that the host carries."""
