"""What a program's author uses: projects, compilers, cases, and the enclave's own engine on this machine."""
