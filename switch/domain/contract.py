"""What a merchant pays for a payment: the merchant discount rate."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """One line of a contract. channel, card_type: "" fits every one; card_type is "debit", "credit" or "prepaid".

    from_minor: the tier's lower bound, of the merchant's volume in the calendar month before this payment.
    basis_points: hundredths of a percent of the amount. fixed_minor: added to it. minimum_minor, cap_minor: bounds of
    the fee; cap_minor 0: none.
    """

    channel: str
    card_type: str
    from_minor: int
    basis_points: int
    fixed_minor: int = 0
    minimum_minor: int = 0
    cap_minor: int = 0


@dataclass(frozen=True, slots=True)
class Contract:
    """What was agreed with a merchant from a business day on. Never changed: another version follows it.

    from_day: ISO date (Asia/Shanghai). reserve_basis_points: of every settlement, held back for reserve_days.
    refunds_return_fee: whether the fee of a refunded amount is given back.
    bank_account: where it is paid out: account name, account number or IBAN, bank code (BIC or CNAPS).
    """

    merchant_id: str
    version: int
    from_day: str
    currency: str
    rates: tuple[Rate, ...]
    reserve_basis_points: int = 0
    reserve_days: int = 0
    refunds_return_fee: bool = False
    account_name: str = ""
    account_number: str = field(default="", repr=False)
    bank_code: str = ""


def fee_minor(rate: Rate, amount_minor: int) -> int:
    """The fee of one payment: half a minor unit and more is rounded up, then minimum and cap hold; never above the
    amount.

    >>> fee_minor(Rate("", "", 0, 38), 10_000), fee_minor(Rate("", "", 0, 38), 1_316), fee_minor(Rate("", "", 0, 38), 0)
    (38, 5, 0)
    >>> fee_minor(Rate("", "debit", 0, 60, minimum_minor=10, cap_minor=2_000), 10_000_000)
    2000
    """
    fee = (amount_minor * rate.basis_points + 5_000) // 10_000 + (rate.fixed_minor if amount_minor else 0)
    fee = max(fee, rate.minimum_minor) if amount_minor else fee
    if rate.cap_minor:
        fee = min(fee, rate.cap_minor)
    return min(fee, amount_minor)


def rate_for(contract: Contract, channel: str, card_type: str, volume_minor: int) -> Rate | None:
    """The most special line that fits: by channel, then by card type, then the highest tier; None if none does.

    A direct issuer's channel is "issuer:<id>"; a line for "issuer" fits all of them.
    """
    fitting = [
        (bool(each.channel) + (each.channel == channel), bool(each.card_type), each.from_minor, each)
        for each in contract.rates
        if each.channel in ("", channel, channel.partition(":")[0])
        and each.card_type in ("", card_type)
        and each.from_minor <= volume_minor
    ]
    return max(fitting, key=lambda each: each[:3])[3] if fitting else None
