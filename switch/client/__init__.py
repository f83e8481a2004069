"""The SDK: plain calls outside, batched frames inside. `acquirer` for acquirers, `issuer` for issuers."""
