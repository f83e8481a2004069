from own_time import own_time
from town import alipay_code, pin_block, request_of, town

__all__ = ["alipay_code", "own_time", "pin_block", "request_of", "town"]
