"""Settings: defaults that work, then the TOML file that PAYSWITCH_CONFIG names, then environment variables.

`[budgets] answer_budget_ms = 150` in the file is `PAYSWITCH_BUDGETS__ANSWER_BUDGET_MS=150` in the environment; lists
are written as JSON there. `load()` is the way in: its errors name the setting both ways and never show a value.
docs/operations.md lists every setting; a test keeps the list in step with this file.
"""

import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from switch.settings_listing import NESTED, settings_of, variable_of
from switch.settings_sections import (
    Address,
    AlipaySettings,
    Audit,
    Batching,
    Budgets,
    Disputes,
    Followers,
    FollowUps,
    HsmSettings,
    Merchants,
    Messages,
    Notifications,
    Operations,
    OptionalAddress,
    Orders,
    ParticipantId,
    Platform,
    PostgresUrl,
    Reconciliation,
    RedisUrl,
    Retention,
    Risk,
    RiskCases,
    RiskDesk,
    RiskMonitors,
    RiskShare,
    RouteRule,
    Settlement,
    StandInRule,
    Terminals,
    Tls,
    TransactionsSettings,
    TransmissionWindow,
    UnionPaySettings,
    Users,
    Wallet,
    WebhooksSettings,
    WeChatSettings,
)

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_ROUTES",
    "ENV_PREFIX",
    "ConfigurationError",
    "RouteRule",
    "Settings",
    "load",
    "split_address",
]

# One process serves all of them, or any of them: each has its tables and its ports.
ServiceName = Literal["authorization", "order", "user", "merchant", "settlement", "risk", "operations"]
SERVICE_NAMES: Final[tuple[ServiceName, ...]] = get_args(ServiceName)

ENV_PREFIX = "PAYSWITCH_"
CONFIG_VARIABLE = "PAYSWITCH_CONFIG"


class ConfigurationError(Exception):
    """What is wrong with the settings, one line per setting, ready to be printed."""


DEFAULT_ROUTES = [
    RouteRule(name="alipay-codes", scheme="alipay", channels=["alipay"]),
    RouteRule(name="wechat-codes", scheme="wechat", channels=["wechat"]),
    RouteRule(name="unionpay-codes", scheme="unionpay", channels=["unionpay"]),
    RouteRule(name="cards", pan_prefix="", channels=["unionpay"]),
]


class Settings(BaseSettings):
    """Every setting of a switch process. Build it with `load()`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=NESTED,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    listen: Address = Field(default="127.0.0.1:7443", description="gRPC with mutual TLS, for acquirers and issuers")
    advertise: OptionalAddress = Field(
        default="",
        description="where issuers that have dialled in reach this very process; empty: listen's address, "
        "with the machine's name where it listens at all addresses",
    )
    state_dir: Path = Field(
        default=Path(".payswitch"), description="keys, certificates and embedded servers of this machine"
    )
    postgres_url: PostgresUrl = Field(
        default=SecretStr(""), description="postgresql://…; empty: embedded, in state_dir"
    )
    redis_url: RedisUrl = Field(default=SecretStr(""), description="redis://, rediss:// or unix://…; empty: embedded")
    services: list[ServiceName] = Field(
        default=[*SERVICE_NAMES], min_length=1, description="what this process serves, of " + ", ".join(SERVICE_NAMES)
    )
    lease_ms: int = Field(
        default=5000, ge=500, le=60_000, description="without a beat for so long a process counts as dead"
    )
    issuers: list[ParticipantId] = Field(default=[], description="participant ids of the issuers that may dial in")
    stand_in: list[StandInRule] = Field(
        default=[], description="issuers in whose place the switch may approve; empty: none"
    )
    operations: Operations = Operations()
    audit: Audit = Audit()
    tls: Tls = Tls()
    hsm: HsmSettings = HsmSettings()
    budgets: Budgets = Budgets()
    batching: Batching = Batching()
    transmission: TransmissionWindow = TransmissionWindow()
    risk: Risk = Risk()
    risk_desk: RiskDesk = RiskDesk()
    risk_cases: RiskCases = RiskCases()
    risk_share: RiskShare = RiskShare()
    risk_monitors: RiskMonitors = RiskMonitors()
    follow_ups: FollowUps = FollowUps()
    notifications: Notifications = Notifications()
    unionpay: UnionPaySettings = UnionPaySettings()
    alipay: AlipaySettings = AlipaySettings()
    wechat: WeChatSettings = WeChatSettings()
    terminals: Terminals = Terminals()
    merchants: Merchants = Merchants()
    orders: Orders = Orders()
    wallet: Wallet = Wallet()
    platform: Platform = Platform()
    followers: Followers = Followers()
    users: Users = Users()
    messages: Messages = Messages()
    reconciliation: Reconciliation = Reconciliation()
    retention: Retention = Retention()
    disputes: Disputes = Disputes()
    transactions: TransactionsSettings = TransactionsSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    settlement: Settlement = Settlement()
    routes: list[RouteRule] = Field(
        default=DEFAULT_ROUTES, description="by the scheme of a payment code, else by the longest matching prefix"
    )

    @property
    def ca_path(self) -> Path:
        return Path(self.tls.ca) if self.tls.ca else self.state_dir / "pki" / "ca.pem"

    @property
    def certificate_path(self) -> Path:
        return Path(self.tls.certificate) if self.tls.certificate else self.state_dir / "pki" / "server.pem"

    @property
    def private_key_path(self) -> Path:
        return Path(self.tls.private_key) if self.tls.private_key else self.state_dir / "pki" / "server.key"

    @property
    def token_dir(self) -> Path:
        return Path(self.hsm.token_dir) if self.hsm.token_dir else self.state_dir / "tokens"

    @property
    def audit_checkpoint_path(self) -> Path:
        given = self.audit.checkpoint_file
        return Path(given) if given else self.state_dir / "audit" / "checkpoints.jsonl"

    @property
    def dead_messages_path(self) -> Path:
        given = self.messages.dead_letters
        return Path(given) if given else self.state_dir / "messages" / "dead.jsonl"

    @property
    def hsm_in_processes(self) -> bool:
        """Whether the HSM's commands run in processes of its own: not on a laptop, which brings no servers either."""
        if self.hsm.mode == "auto":
            embedded = not self.postgres_url.get_secret_value() and not self.redis_url.get_secret_value()
            return bool(self.hsm.sockets) or not embedded
        return self.hsm.mode == "process"

    @property
    def alipay_public_key_path(self) -> Path:
        return Path(self.alipay.public_key) if self.alipay.public_key else self.state_dir / "simulators" / "alipay.pem"

    @property
    def wechat_public_key_path(self) -> Path:
        given = self.wechat.platform_public_key
        return Path(given) if given else self.state_dir / "simulators" / "wechat.pem"

    @property
    def unionpay_bills_path(self) -> Path:
        given, institution = self.unionpay.bills_dir, self.unionpay.forwarding_institution_id
        return Path(given) if given else self.state_dir / "simulators" / "unionpay" / institution

    @property
    def wechat_apiv3_key_path(self) -> Path | None:
        """None where there is no key: notifications and platform certificates cannot be opened then."""
        if self.wechat.apiv3_key_file:
            return Path(self.wechat.apiv3_key_file)
        default = self.state_dir / "simulators" / "wechat_apiv3.key"
        return default if default.exists() else None

    def notify_url_of(self, channel: str) -> str:
        """What a wallet is told with each payment; the channel adds the merchant's and the authorization's ids."""
        base = self.notifications.public_url.rstrip("/")
        return f"{base}/notify/{channel}" if base and self.notifications.listen else ""

    def channel_names(self) -> list[str]:
        """The channels that are switched on, as routes name them."""
        named = {"unionpay": self.unionpay.host, "alipay": self.alipay.gateway_url, "wechat": self.wechat.base_url}
        return [name for name, address in named.items() if address] + [f"issuer:{each}" for each in self.issuers]

    @field_validator("services")
    @classmethod
    def _named_once(cls, services: list[ServiceName]) -> list[ServiceName]:
        if len(set(services)) != len(services):
            raise ValueError("a service is named twice")
        return services

    @field_validator("platform")
    @classmethod
    def _the_road_is_somewhere(cls, platform: Platform, info: ValidationInfo) -> Platform:
        services = set(info.data.get("services", SERVICE_NAMES))
        if "authorization" not in services and services - {"operations"} and not platform.authorizations:
            raise ValueError("authorizations: where is the authorization service that these services need?")
        return platform

    @field_validator("stand_in")
    @classmethod
    def _stands_in_for_known_issuers(cls, rules: list[StandInRule], info: ValidationInfo) -> list[StandInRule]:
        issuers = [rule.issuer for rule in rules]
        unknown = sorted(set(issuers) - set(info.data.get("issuers", issuers)))
        if unknown:
            raise ValueError(f"not listed in issuers: {', '.join(unknown)}")
        if len(set(issuers)) != len(issuers):
            raise ValueError("an issuer has two rules")
        return rules

    @field_validator("routes")
    @classmethod
    def _lead_to_known_channels(cls, rules: list[RouteRule], info: ValidationInfo) -> list[RouteRule]:
        known = ["unionpay", "alipay", "wechat", *(f"issuer:{each}" for each in info.data.get("issuers", []))]
        conditions = [rule.scheme or rule.pan_prefix for rule in rules]
        if len(set(conditions)) != len(conditions):
            raise ValueError("two rules have the same pan_prefix or scheme")
        for rule in rules:
            for channel in rule.channels:
                if channel not in known:
                    raise ValueError(
                        f"rule {rule.name!r} names the channel {channel!r}; known are {', '.join(known)} "
                        "(an issuer's must be listed in issuers)"
                    )
        return rules

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get(CONFIG_VARIABLE, "")
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


def split_address(address: str) -> tuple[str, int]:
    """
    >>> split_address("127.0.0.1:7443"), split_address("[::1]:7443")
    (('127.0.0.1', 7443), ('::1', 7443))
    """
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def load(**overrides: Any) -> Settings:
    """Read the settings; `overrides` come before the environment, as nested mappings of values.

    Raises ConfigurationError, one line per setting that is wrong, naming its environment variable, its place in the
    TOML file and what is allowed.
    """
    path = os.environ.get(CONFIG_VARIABLE, "")
    try:
        if path:
            with Path(path).open("rb") as file:
                tomllib.load(file)
        return Settings(**overrides)
    except OSError as error:
        raise ConfigurationError(f"{CONFIG_VARIABLE}: cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {path} is not TOML: {error}") from None
    except SettingsError as error:
        raise ConfigurationError(_not_json(error)) from None
    except ValidationError as error:
        lines = [
            _line(each["loc"], each["type"], each["msg"])
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigurationError("\n".join(lines)) from None


def _line(location: tuple[int | str, ...], kind: str, message: str) -> str:
    """One error: both names of the setting, what is wrong, what the setting is."""
    known = {each.path: each for each in settings_of(Settings, ENV_PREFIX)}
    # Environment variables reach down to a list, not into it.
    until = next((index for index, part in enumerate(location) if isinstance(part, int)), len(location))
    path = ".".join(map(str, location))
    names = f"{variable_of(ENV_PREFIX, location[:until])} ({path} in the file)"
    if kind == "extra_forbidden":
        near = get_close_matches(path, known, n=1)
        return f"{names}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
    about = f" [{known[path].description}]" if path in known else ""
    return f"{names}: {message.removeprefix('Value error, ')}{about}"


def _not_json(error: SettingsError) -> str:
    """pydantic-settings names the field whose variable holds broken JSON, in quotes."""
    parts = str(error).split('"')
    name = parts[1] if len(parts) > 1 else ""
    return f"{ENV_PREFIX}{name.upper()} ({name} in the file): must be JSON when set in the environment"
