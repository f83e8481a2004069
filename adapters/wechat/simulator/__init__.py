"""A strict WeChat Pay for tests and demonstrations. It shares no code with the adapter's codec, so that a mistake
there cannot hide here."""

from adapters.wechat.simulator.accounts import Payer, client_codes, default_accounts
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.server import WeChatSimulator

__all__ = ["Payer", "WeChatMerchant", "WeChatSimulator", "client_codes", "default_accounts"]
