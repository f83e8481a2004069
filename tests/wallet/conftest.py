from wallet_scene import payer, wallet, wallet_clock, wallet_hsm, wallet_token_directory

__all__ = ["payer", "wallet", "wallet_clock", "wallet_hsm", "wallet_token_directory"]
