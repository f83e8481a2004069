"""One application as the gateway keeps it: its key, its certificate, its trades, its bills."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from adapters.alipay.simulator.accounts import Wallets
from adapters.alipay.simulator.applications import AlipayApplication
from adapters.alipay.simulator.authority import PlatformAuthority, certificate_sn
from adapters.alipay.simulator.bills import Period, bill_file
from adapters.alipay.simulator.book import Book, Origin
from adapters.alipay.simulator.encryption import content_key
from adapters.alipay.simulator.refusal import refused
from adapters.alipay.simulator.signing import application_key
from adapters.alipay.simulator.trade import SHANGHAI, Reply, Trade, moment
from adapters.simulation import Scenarios

BILL_URL: Final = "alipay.data.dataservice.bill.downloadurl.query"
CERTIFICATE: Final = "alipay.open.app.alipaycert.download"

# A day's bill is made in the morning of the next day, a month's on the third of the next month.
_BILL_HOUR: Final = 9
_MONTHLY_BILL_DAY: Final = 3

Method = Callable[[Mapping[str, Any], Origin], Reply]


class Client:
    """Trades belong to their application: no other sees them. announce: told (client, trade, event) of each change."""

    def __init__(
        self,
        application: AlipayApplication,
        wallets: Wallets,
        scenarios: Scenarios,
        authority: PlatformAuthority,
        now_s: Callable[[], float],
        announce: "Callable[[Client, Trade, str], None]",
    ) -> None:
        self.application = application
        self.app_id = application.app_id
        self.key = application_key(application.public_key_pem)
        self.aes_key = content_key(application.aes_key) if application.aes_key else b""
        self.book = Book(wallets, scenarios, now_s, lambda trade, event: announce(self, trade, event))
        self._authority = authority
        self._now_s = now_s
        self.methods: dict[str, Method] = {
            "alipay.trade.pay": self.book.pay,
            "alipay.trade.precreate": self.book.precreate,
            "alipay.trade.create": self.book.create,
            "alipay.trade.query": self.book.query,
            "alipay.trade.cancel": self.book.cancel,
            "alipay.trade.close": self.book.close,
            "alipay.trade.refund": self.book.refund,
            "alipay.trade.fastpay.refund.query": self.book.refund_query,
        }

    @property
    def seller_id(self) -> str:
        """The merchant's account: 2088 and the last twelve digits of the application's number."""
        return f"2088{self.app_id[-12:]:0>12}"

    @cached_property
    def certificate_pem(self) -> str:
        given = self.application.certificate_pem
        return given or self._authority.application_certificate_pem(self.app_id, self.key)

    @cached_property
    def certificate_sn(self) -> str:
        return certificate_sn(self.certificate_pem)

    def bill(self, bill_type: str, text: str) -> bytes:
        """The ZIP of one day or month. Raises Refused where it is not made yet, or nothing happened in it."""
        period, now = Period(text), moment(self._now_s())
        wait = timedelta(hours=_BILL_HOUR) if len(text) == 10 else timedelta(days=_MONTHLY_BILL_DAY - 1)
        movements = self.book.movements(text)
        if now < _midnight(period.after) + wait or not movements:
            raise refused("isp.bill_not_exist", "入参账期的账单不存在")
        return bill_file(bill_type, period, self.seller_id, movements, self._now_s())


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=SHANGHAI)
