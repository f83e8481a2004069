"""Tokenization: payment tokens in place of PANs, and the few who may turn them back. See docs/tokenization.md."""
