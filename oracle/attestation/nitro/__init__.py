"""AWS's evidence, Nitro Enclaves: documents, verification."""
