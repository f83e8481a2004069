from counter import hsm, refusals, shop, token_directory, town

__all__ = ["hsm", "refusals", "shop", "token_directory", "town"]
