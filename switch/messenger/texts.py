"""What a user reads: English, and Chinese below it. No link in any: what asks for a click is not us."""

from dataclasses import dataclass, field
from typing import Final

from switch.domain.account import AlertKind
from switch.users.messages import MessageKind


@dataclass(frozen=True, slots=True)
class Text:
    """short: for a short message, where 70 characters are one part (3GPP TS 23.038, UCS-2)."""

    subject: str
    body: str = field(repr=False)
    short: str = field(repr=False)


_CODES: Final = {
    MessageKind.REGISTRATION_CODE: ("Your registration code", "注册验证码", "to register", "注册"),
    MessageKind.RESET_CODE: ("Your code for a new password", "重置密码验证码", "to set a new password", "重置密码"),
}
_ALERTS: Final = {
    AlertKind.NEW_NETWORK: ("Your account was used from a new network.", "您的账户在新的网络登录。"),
    AlertKind.LOCKED_OUT: (
        "Your account is locked for a while: there were too many wrong tries.", "错误次数过多，您的账户已暂时锁定。",
    ),
    AlertKind.PASSWORD_CHANGED: ("Your password was changed.", "您的密码已修改。"),
    AlertKind.PASSWORD_RESET: ("Your password was reset.", "您的密码已重置。"),
    AlertKind.RECOVERY_CODE_USED: ("A recovery code of yours was used.", "您的一个恢复码已被使用。"),
    AlertKind.TOKEN_REUSED: (
        "A session of yours was ended: its token was used twice.", "您的一个会话已终止：其令牌被重复使用。",
    ),
    AlertKind.PASSKEY_COPIED: (
        "A log-in was refused: a passkey of yours may have been copied.", "登录被拒绝：您的通行密钥可能已被复制。",
    ),
    AlertKind.SECOND_FACTOR_CHANGED: ("Your second factor was changed.", "您的第二验证因素已变更。"),
    AlertKind.DEVICE_BOUND: ("A device was added to your account.", "您的账户新增了一台设备。"),
    AlertKind.RESCUE_REQUESTED: (
        "Somebody asked us to open your account without its second factor. If it was not you, log in and stop it now.",
        "有人申请在无第二验证因素的情况下恢复您的账户。如非本人，请立即登录并终止。",
    ),
    AlertKind.RESCUE_APPROVED: (
        "Your account will be opened without its second factor. If you did not ask for it, log in and stop it now.",
        "您的账户将在无第二验证因素的情况下恢复。如非本人申请，请立即登录并终止。",
    ),
    AlertKind.RESCUED: (
        "Password, second factors, devices and sessions of your account are void. Ask for a new password to use it.",
        "您账户的密码、第二验证因素、设备及会话均已失效。请重置密码后使用。",
    ),
}  # fmt: skip
_NOT_YOU: Final = (
    "If it was not you, change your password now and tell us.", "如非本人操作，请立即修改密码并联系我们。",
)  # fmt: skip


def text_of(kind: MessageKind, code: str, alert: AlertKind | None) -> Text:
    """Raises KeyError for a kind that this version does not know."""
    if kind in _CODES:
        subject, subject_zh, purpose, purpose_zh = _CODES[kind]
        body = (
            f"{code} is your code {purpose}. It is good for 10 minutes. Nobody of ours will ask you for it.\n\n"
            f"您的{purpose_zh}验证码为 {code}，10 分钟内有效。我们的人员不会向您索要。\n"
        )
        return Text(f"{subject} / {subject_zh}", body, f"{code} {purpose_zh}验证码，10分钟内有效，勿告知他人")
    if kind is MessageKind.ALREADY_REGISTERED:
        english, chinese = (
            "Somebody tried to register with this address, which has an account. Was it you? Then just log in.",
            "有人尝试用此地址注册，但该地址已有账户。如为本人，请直接登录。",
        )
        return Text("You have an account / 您已有账户", f"{english}\n\n{chinese}\n", chinese)
    if alert is None:
        raise KeyError("an alert without its kind")
    english, chinese = _ALERTS[alert]
    body = f"{english} {_NOT_YOU[0]}\n\n{chinese}{_NOT_YOU[1]}\n"
    return Text("About your account / 账户提醒", body, chinese)
