from merchant_office import merchant_hsm, merchant_token, office

__all__ = ["merchant_hsm", "merchant_token", "office"]
