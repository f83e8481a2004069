"""How a payer presents — tap, code, QR, handover, keyed — becomes a credential. Bytes in, values out; no I/O."""
