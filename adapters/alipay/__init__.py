"""Alipay Open API: codec (text, signatures), codes (tables), operations (meaning), channel and transport (the way).

`simulator` is the strict peer of the tests and the demo.
"""
