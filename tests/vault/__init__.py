"""The vault: real files, real cryptography."""
