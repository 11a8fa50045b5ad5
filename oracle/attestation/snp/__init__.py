"""AMD's evidence, SEV-SNP: reports, certificates, verification."""
