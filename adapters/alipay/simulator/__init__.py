"""A strict Alipay gateway for tests and the demo. It shares neither codec nor cryptography with the adapter."""

from adapters.alipay.simulator.accounts import Payer, client_codes, default_accounts
from adapters.alipay.simulator.applications import AlipayApplication
from adapters.alipay.simulator.gateway import AlipaySimulator

__all__ = ["AlipayApplication", "AlipaySimulator", "Payer", "client_codes", "default_accounts"]
