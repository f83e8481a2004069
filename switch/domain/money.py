"""Money: integer minor units with an ISO 4217 currency."""

from dataclasses import dataclass

# ISO 4217: alphabetic code -> (numeric code, minor-unit exponent). The currencies the four channels settle in.
CURRENCIES: dict[str, tuple[str, int]] = {
    "AED": ("784", 2), "AUD": ("036", 2), "BHD": ("048", 3), "BRL": ("986", 2), "CAD": ("124", 2),
    "CHF": ("756", 2), "CNY": ("156", 2), "DKK": ("208", 2), "EUR": ("978", 2), "GBP": ("826", 2),
    "HKD": ("344", 2), "IDR": ("360", 2), "INR": ("356", 2), "JPY": ("392", 0), "KRW": ("410", 0),
    "KWD": ("414", 3), "KZT": ("398", 2), "LAK": ("418", 2), "MMK": ("104", 2), "MNT": ("496", 2),
    "MOP": ("446", 2), "MXN": ("484", 2), "MYR": ("458", 2), "NOK": ("578", 2), "NPR": ("524", 2),
    "NZD": ("554", 2), "OMR": ("512", 3), "PHP": ("608", 2), "PKR": ("586", 2), "PLN": ("985", 2),
    "QAR": ("634", 2), "RUB": ("643", 2), "SAR": ("682", 2), "SEK": ("752", 2), "SGD": ("702", 2),
    "THB": ("764", 2), "TRY": ("949", 2), "TWD": ("901", 2), "UAH": ("980", 2), "USD": ("840", 2),
    "UZS": ("860", 2), "VND": ("704", 0), "ZAR": ("710", 2),
}  # fmt: skip

# Twelve digits: the width of DE4 (ISO 8583).
LARGEST_AMOUNT_MINOR = 999_999_999_999


@dataclass(slots=True, frozen=True)
class Money:
    """`amount_minor` counts minor units (fen, cents); `currency` is the ISO 4217 alphabetic code."""

    amount_minor: int
    currency: str

    @property
    def currency_numeric(self) -> str:
        return CURRENCIES[self.currency][0]

    def decimal_text(self) -> str:
        """The amount in major units, exact.

        >>> Money(1, "CNY").decimal_text(), Money(12345, "CNY").decimal_text(), Money(500, "JPY").decimal_text()
        ('0.01', '123.45', '500')
        """
        exponent = CURRENCIES[self.currency][1]
        if exponent == 0:
            return str(self.amount_minor)
        whole, part = divmod(self.amount_minor, 10**exponent)
        return f"{whole}.{part:0{exponent}d}"
