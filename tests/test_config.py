import os
from pathlib import Path

import pytest

from switch import config
from switch.config import ConfigurationError, Settings, load
from switch.settings_listing import in_force, settings_of, unknown_variables

STAND_IN = (
    '{"issuer": "a", "largest_minor": 1, "card_minor": 2, "card_count": 3, "total_minor": 4, "total_count": 5,'
    ' "pan_prefixes": ["62"]}'
)
DOCUMENT = Path(__file__).parent.parent / "docs" / "operations.md"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(config.ENV_PREFIX)]:
        monkeypatch.delenv(name)


def refusal() -> str:
    with pytest.raises(ConfigurationError) as caught:
        load()
    return str(caught.value)


def test_the_defaults_work() -> None:
    settings = load()
    assert settings.listen == "127.0.0.1:7443"
    assert (settings.budgets.answer_budget_ms, settings.budgets.answer_reserve_ms) == (180, 50)
    assert settings.ca_path == Path(".payswitch/pki/ca.pem")
    assert settings.token_dir == Path(".payswitch/tokens")
    assert settings.channel_names() == ["unionpay", "alipay", "wechat"]


def test_the_environment_comes_before_the_file_and_the_file_before_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "payswitch.toml"
    file.write_text(
        'issuers = ["bank-1"]\n[budgets]\nanswer_budget_ms = 150\nanswer_reserve_ms = 40\n[tls]\nca = "a.pem"\n'
    )
    monkeypatch.setenv("PAYSWITCH_CONFIG", str(file))
    monkeypatch.setenv("PAYSWITCH_BUDGETS__ANSWER_BUDGET_MS", "120")
    monkeypatch.setenv("PAYSWITCH_STATE_DIR", str(tmp_path))
    settings = load(listen="0.0.0.0:1")
    assert (settings.budgets.answer_budget_ms, settings.budgets.answer_reserve_ms) == (120, 40)
    assert (settings.ca_path, settings.private_key_path) == (Path("a.pem"), tmp_path / "pki" / "server.key")
    assert settings.issuers == ["bank-1"]
    assert settings.listen == "0.0.0.0:1"


def test_limits_by_currency_are_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_ORDERS__STEP_UP_ABOVE_MINOR", '{"CNY": 5000, "JPY": 0}')
    settings = load()
    assert settings.orders.step_up_above_minor == {"CNY": 5000, "JPY": 0}
    assert ("orders.step_up_above_minor", "{CNY = 5000, JPY = 0}") in in_force(settings, config.ENV_PREFIX)
    for wrong in ('{"XXX": 1}', '{"CNY": -1}', "100000"):
        monkeypatch.setenv("PAYSWITCH_ORDERS__STEP_UP_ABOVE_MINOR", wrong)
        assert "PAYSWITCH_ORDERS__STEP_UP_ABOVE_MINOR" in refusal()


def test_lists_are_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_ISSUERS", '["bank-1"]')
    rule = '{"name": "own", "pan_prefix": "6259", "channels": ["issuer:bank-1", "unionpay"]}'
    monkeypatch.setenv("PAYSWITCH_ROUTES", f"[{rule}]")
    (rule,) = load().routes
    assert (rule.pan_prefix, rule.scheme, rule.channels) == ("6259", None, ["issuer:bank-1", "unionpay"])


@pytest.mark.parametrize(
    ("name", "value", "path", "allowed"),
    [
        ("BUDGETS__ANSWER_BUDGET_MS", "201", "budgets.answer_budget_ms", "less than or equal to 200"),
        ("BUDGETS__ANSWER_BUDGET_MS", "soon", "budgets.answer_budget_ms", "valid integer"),
        ("BUDGETS__ANSWER_RESERVE_MS", "0", "budgets.answer_reserve_ms", "greater than or equal to 1"),
        ("BUDGETS__ANSWER_BUDGET", "1", "budgets.answer_budget", "did you mean budgets.answer_budget_ms?"),
        ("LISTEN", "7443", "listen", "host:port"),
        ("LISTEN", "localhost:99999", "listen", "host:port"),
        ("POSTGRES_URL", "mysql://x", "postgres_url", "postgresql://"),
        ("REDIS_URL", "localhost", "redis_url", "redis://"),
        ("ISSUERS", "bank-1", "issuers", "JSON"),
        ("ISSUERS", '["a/b"]', "issuers.0", "A-Z a-z 0-9"),
        ("TLS__PRIVATE_KEY", "key.pem", "tls.private_key", "together with tls.certificate"),
        (
            "RISK__VELOCITY_LIMIT_PER_MINUTE",
            "1000001",
            "risk.velocity_limit_per_minute",
            "less than or equal to 1000000",
        ),
        ("RISK__COUNTERS_DOWN_POLICY", "maybe", "risk.counters_down_policy", "'continue' or 'decline'"),
        ("UNIONPAY__ACQUIRING_INSTITUTION_ID", "12A", "unionpay.acquiring_institution_id", "8 to 11 digits"),
        ("ALIPAY__GATEWAY_URL", "ftp://x", "alipay.gateway_url", "http(s)://"),
        ("ALIPAY__SELLER_ID", "2088", "alipay.seller_id", "2088 and 12 digits"),
        ("ALIPAY__PLATFORM_CERTIFICATE", "a.pem", "alipay.platform_certificate", "together with"),
        ("WECHAT__SERIAL", "xyz", "wechat.serial", "hex digits"),
        ("FOLLOW_UPS__REVERSAL_BACKOFF_MAX_MS", "10", "follow_ups.reversal_backoff_max_ms", "not be less than"),
        ("STAND_IN", f"[{STAND_IN}]", "stand_in", "not listed in issuers: a"),
        ("STAND_IN", f"[{STAND_IN.replace('62', '6x')}]", "stand_in.0.pan_prefixes.0", "digits"),
        ("STAND_IN", f"[{STAND_IN.replace('1', '0', 1)}]", "stand_in.0.largest_minor", "greater than 0"),
        ("ADVERTISE", "switch.example", "advertise", "host:port"),
        ("ROUTES", '[{"name": "x", "channels": ["unionpay"]}]', "routes.0", "exactly one of pan_prefix and scheme"),
        ("ROUTES", '[{"name": "x", "scheme": "alipay", "channels": []}]', "routes.0.channels", "at least 1 item"),
        ("ROUTES", '[{"name": "x", "scheme": "wechat", "channels": ["visa"]}]', "routes", "known are unionpay"),
        ("ROUTES", '[{"name": "x", "pan_prefix": "6x", "channels": ["unionpay"]}]', "routes.0.pan_prefix", "digits"),
    ],
)
def test_an_error_names_the_setting_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, path: str, allowed: str
) -> None:
    monkeypatch.setenv(f"PAYSWITCH_{name}", value)
    text = refusal()
    assert text.startswith(f"PAYSWITCH_{name} ({path} in the file): ")
    assert allowed in text
    assert "\n" not in text


def test_every_wrong_setting_gets_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_LISTEN", "x")
    monkeypatch.setenv("PAYSWITCH_LEASE_MS", "1")
    assert len(refusal().splitlines()) == 2


def test_an_issuer_has_one_rule_of_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_ISSUERS", '["a"]')
    monkeypatch.setenv("PAYSWITCH_STAND_IN", f"[{STAND_IN}]")
    assert load().stand_in[0].entries == ["nfc"]
    monkeypatch.setenv("PAYSWITCH_STAND_IN", f"[{STAND_IN}, {STAND_IN}]")
    assert "two rules" in refusal()


def test_two_rules_for_the_same_codes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = '{"name": "x", "scheme": "alipay", "channels": ["alipay"]}'
    monkeypatch.setenv("PAYSWITCH_ROUTES", f"[{rule}, {rule}]")
    assert "same pan_prefix or scheme" in refusal()


@pytest.mark.parametrize("url", ["http://gateway.example/sms", "http://localhost@gateway.example/"])
def test_codes_leave_this_machine_over_tls_alone(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PAYSWITCH_MESSAGES__SMS_URL", url)
    assert "http is for a gateway on this machine" in refusal()
    for allowed in ("https://gateway.example/sms", "http://127.0.0.1:8080/sms", "http://[::1]/sms"):
        monkeypatch.setenv("PAYSWITCH_MESSAGES__SMS_URL", allowed)
        assert load().messages.sms_url == allowed


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read"),
        ("listen = ", "is not TOML"),
        ("[budgets]\nanswer = 1", "no such setting"),
        ("a = 1", "a in"),
    ],
)
def test_a_file_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, expected: str
) -> None:
    file = tmp_path / "payswitch.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("PAYSWITCH_CONFIG", str(file))
    assert expected in refusal()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", f"postgresql://payswitch:{SECRET}@db/payswitch")
    settings = load()
    assert settings.postgres_url.get_secret_value().endswith("@db/payswitch")
    assert SECRET not in repr(settings)
    assert SECRET not in str(list(in_force(settings, config.ENV_PREFIX)))
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", f"mysql://payswitch:{SECRET}@db")
    monkeypatch.setenv("PAYSWITCH_HSM__USER_PIN", SECRET)
    assert SECRET not in refusal()


def test_a_misspelt_variable_is_found() -> None:
    environment = {"PAYSWITCH_LISTN": "x", "PAYSWITCH_LISTEN": "x", "PAYSWITCH_CONFIG": "x", "PAYSWITCH_BUDGETS": "{}"}
    lines = unknown_variables(environment, Settings, config.ENV_PREFIX, [config.CONFIG_VARIABLE])
    assert lines == ["PAYSWITCH_LISTN is not a setting; did you mean PAYSWITCH_LISTEN?"]


@pytest.mark.parametrize("each", list(settings_of(Settings, config.ENV_PREFIX)), ids=lambda each: each.path)
def test_every_setting_is_described_and_documented(each: object) -> None:
    assert each.description
    default = "see below" if each.path == "routes" else f"`{each.default}`"
    assert f"| `{each.variable}` | {default} | {each.description} |" in DOCUMENT.read_text()


@pytest.mark.parametrize(
    ("variables", "in_processes"),
    [
        ({}, False),
        ({"POSTGRES_URL": "postgresql://db"}, True),
        ({"REDIS_URL": "redis://cache"}, True),
        ({"HSM__MODE": "process"}, True),
        ({"HSM__MODE": "direct", "POSTGRES_URL": "postgresql://db", "REDIS_URL": "redis://cache"}, False),
        ({"HSM__SOCKETS": '["/run/hsm.sock"]'}, True),
    ],
)
def test_the_hsm_is_apart_where_servers_are(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], in_processes: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"PAYSWITCH_{name}", value)
    assert load().hsm_in_processes is in_processes


@pytest.mark.parametrize("sockets", ['["/run/a.sock"]', '["/run/a.sock", "/run/a.sock"]'])
def test_sockets_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, sockets: str) -> None:
    monkeypatch.setenv("PAYSWITCH_HSM__MODE", "process" if "," in sockets else "direct")
    monkeypatch.setenv("PAYSWITCH_HSM__SOCKETS", sockets)
    assert "PAYSWITCH_HSM__SOCKETS (hsm.sockets in the file)" in refusal()
