"""A strict WeChat Pay for tests and demonstrations. It shares no code with the adapter's codec, so that a mistake
there cannot hide here."""

from adapters.wechat.simulator.accounts import Payer, default_accounts
from adapters.wechat.simulator.server import WeChatSimulator

__all__ = ["Payer", "WeChatSimulator", "default_accounts"]
