from town import alipay_code, pin_block, request_of, town

__all__ = ["alipay_code", "pin_block", "request_of", "town"]
