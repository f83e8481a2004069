"""The sealed handover: a session of phone and terminal over any byte link, and a credential that the HSM alone opens.

No I/O: bytes in, bytes and values out, in pieces of any size. docs/bluetooth.md has the layouts.
"""
