"""UnionPay, inter-institution: ISO 8583 in the CUPS dialect (Q/CUP 006) over persistent multiplexed TCP links.

Bottom up: `format` (the fields as data), `_codec` (bytes to fields and back), `frame` (the stream), `mac` (what a MAC
covers), `messages` and `replies` (meaning), `link` and `channel` (transport). `simulator` is a strict network.
"""
