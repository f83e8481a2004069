"""Clients of Alipay and WeChat Pay as anybody would write them from the documents: `cryptography` and aiohttp, and
nothing of the project's. What the gateway answers is verified before it is believed."""

import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

_SHANGHAI = ZoneInfo("Asia/Shanghai")


def private_key(path: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(Path(path).read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def public_key(pem: bytes) -> rsa.RSAPublicKey:
    """Of a public key or a certificate."""
    key = x509.load_pem_x509_certificate(pem).public_key() if b"CERTIFICATE" in pem else load_pem_public_key(pem)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def trust(path: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=path)


def fresh_number(prefix: str = "t") -> str:
    return f"{prefix}{uuid4().hex[:24]}"


def certificate_numbers(path: str) -> list[str]:
    """Alipay's serial numbers of the RSA certificates of a file."""
    found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    texts = [
        f"{each.issuer.rfc4514_string()}{each.serial_number}"
        for each in found
        if each.signature_algorithm_oid._name.endswith("RSAEncryption")
    ]
    return [hashlib.md5(each.encode(), usedforsecurity=False).hexdigest() for each in texts]


class PlainAlipay:
    """RSA2. certificate_mode: the parties are known by their certificates. config: `alipay` of the client config."""

    def __init__(
        self,
        config: Mapping[str, Any],
        session: aiohttp.ClientSession,
        *,
        https: bool = False,
        pkcs1: bool = False,
        encrypts: bool = False,
        certificate_mode: bool = False,
    ) -> None:
        self._config = config
        self._session = session
        self._url = config["gateway_url_https" if https else "gateway_url"]
        self._tls = trust(config["ca_certificate"])
        self._key = private_key(config["app_private_key_pkcs1" if pkcs1 else "app_private_key_pkcs8"])
        self._numbers: dict[str, str] = {}
        file = config["alipay_public_key"]
        if certificate_mode:
            file = config["alipay_certificate"]
            self._numbers["app_cert_sn"] = certificate_numbers(config["app_certificate"])[0]
            self._numbers["alipay_root_cert_sn"] = "_".join(certificate_numbers(config["alipay_root_certificate"]))
            self._alipay_cert_sn = certificate_numbers(file)[0]
        self._gateway_key = public_key(Path(file).read_bytes())
        self._aes_key = base64.b64decode(config["aes_key"]) if encrypts else b""

    async def pay(self, behaviour: str, number: str, amount: str = "12.34", timeout_s: float = 10.0) -> dict[str, Any]:
        content = {"out_trade_no": number, "scene": "bar_code", "auth_code": self._config["codes"][behaviour]}
        return await self.call(
            "alipay.trade.pay", content | {"subject": "tea", "total_amount": amount}, timeout_s=timeout_s
        )

    async def call(
        self, method: str, content: Mapping[str, Any], timeout_s: float = 10.0, **public: str
    ) -> dict[str, Any]:
        """The inner value. public: more parameters beside the content. Raises TimeoutError, InvalidSignature."""
        form = (
            {
                "app_id": self._config["app_id"],
                "method": method,
                "format": "JSON",
                "charset": "utf-8",
                "sign_type": "RSA2",
                "timestamp": f"{datetime.now(_SHANGHAI):%Y-%m-%d %H:%M:%S}",
                "version": "1.0",
                "biz_content": json.dumps(content),
            }
            | self._numbers
            | public
        )
        if self._aes_key:
            form |= {"encrypt_type": "AES", "biz_content": self._encrypted(form["biz_content"])}
        text = "&".join(f"{name}={form[name]}" for name in sorted(form))
        form["sign"] = base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), SHA256())).decode()
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        tls = self._tls if self._url.startswith("https") else True
        async with self._session.post(self._url, data=form, timeout=timeout, ssl=tls) as response:
            return self._verified(f"{method.replace('.', '_')}_response", await response.read())

    def verify_notification(self, form: Mapping[str, str]) -> None:
        """Raises InvalidSignature."""
        signed = sorted(name for name, value in form.items() if value and name not in ("sign", "sign_type"))
        text = "&".join(f"{name}={form[name]}" for name in signed)
        self._gateway_key.verify(base64.b64decode(form["sign"]), text.encode(), padding.PKCS1v15(), SHA256())

    def _verified(self, name: str, body: bytes) -> dict[str, Any]:
        head, tail = f'{{"{name}":'.encode(), b',"sign":"'
        if self._numbers:
            tail = f',"alipay_cert_sn":"{self._alipay_cert_sn}","sign":"'.encode()
        assert body.startswith(head), body[:80]
        assert tail in body, body[-300:]
        raw = body[len(head) : body.rindex(tail)]
        signature = base64.b64decode(json.loads(body)["sign"])
        self._gateway_key.verify(signature, raw, padding.PKCS1v15(), SHA256())
        value = json.loads(raw)
        value = json.loads(self._decrypted(value)) if isinstance(value, str) else value
        assert isinstance(value, dict)
        return value

    def _cipher(self) -> Cipher[modes.CBC]:
        return Cipher(algorithms.AES(self._aes_key), modes.CBC(bytes(16)))

    def _encrypted(self, text: str) -> str:
        padder, encryptor = block_padding.PKCS7(128).padder(), self._cipher().encryptor()
        return base64.b64encode(encryptor.update(padder.update(text.encode()) + padder.finalize())).decode()

    def _decrypted(self, text: str) -> bytes:
        unpadder, decryptor = block_padding.PKCS7(128).unpadder(), self._cipher().decryptor()
        return unpadder.update(decryptor.update(base64.b64decode(text))) + unpadder.finalize()


class PlainWeChat:
    """API v3. certificate_mode: the platform is known by its certificate, not by its public key.

    config: `wechat` of the client config.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        session: aiohttp.ClientSession,
        *,
        certificate_mode: bool = False,
        https: bool = False,
    ) -> None:
        self.config = config
        self._session = session
        self._base_url = config["base_url_https" if https else "base_url"]
        self._tls = trust(config["ca_certificate"])
        self._key = private_key(config["merchant_private_key"])
        self._serial = "" if certificate_mode else config["platform_public_key_id"]
        file = config["platform_certificate" if certificate_mode else "platform_public_key"]
        self.platform_pem = Path(file).read_bytes()
        self._platform_key = public_key(self.platform_pem)
        self._platform_serial = self._serial or config["platform_certificate_serial_no"]

    async def pay(
        self, behaviour: str, number: str, amount_fen: int = 1234, timeout_s: float = 10.0
    ) -> tuple[int, dict[str, Any]]:
        content = {
            "appid": self.config["appid"],
            "mchid": self.config["mchid"],
            "description": "tea",
            "out_trade_no": number,
            "payer": {"auth_code": self.config["codes"][behaviour]},
            "amount": {"total": amount_fen, "currency": "CNY"},
            "scene_info": {"store_info": {"id": "1"}},
        }
        return await self.call("POST", "/v3/pay/transactions/codepay", content, timeout_s)

    async def query(self, number: str) -> dict[str, Any]:
        path = f"/v3/pay/transactions/out-trade-no/{number}?mchid={self.config['mchid']}"
        status, content = await self.call("GET", path)
        assert status in (200, 404), content
        return content

    async def call(
        self, method: str, path: str, content: Mapping[str, Any] | None = None, timeout_s: float = 10.0
    ) -> tuple[int, dict[str, Any]]:
        """Status and content. Raises TimeoutError, InvalidSignature."""
        body = "" if content is None else json.dumps(content)
        headers = {"Authorization": self._authorization(method, path, body), "Accept": "application/json"}
        headers |= {"Content-Type": "application/json"} if body else {}
        headers |= {"Wechatpay-Serial": self._serial} if self._serial else {}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        tls = self._tls if self._base_url.startswith("https") else True
        url = self._base_url + path
        async with self._session.request(
            method, url, data=body or None, headers=headers, timeout=timeout, ssl=tls
        ) as response:
            answer = await response.read()
            self.verify(response.headers, answer)
            return response.status, json.loads(answer) if answer else {}

    async def download(self, url: str) -> bytes:
        """A bill: the request is signed, the answer is not."""
        path = url.removeprefix(self._base_url)
        headers = {"Authorization": self._authorization("GET", path, ""), "Accept": "application/json"}
        async with self._session.get(url, headers=headers) as response:
            assert response.status == 200
            return await response.read()

    def _authorization(self, method: str, path: str, body: str) -> str:
        timestamp, nonce = str(int(time.time())), uuid4().hex
        text = f"{method}\n{path}\n{timestamp}\n{nonce}\n{body}\n"
        signature = base64.b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), SHA256())).decode()
        parts = {
            "mchid": self.config["mchid"],
            "nonce_str": nonce,
            "signature": signature,
            "timestamp": timestamp,
            "serial_no": self.config["merchant_serial_no"],
        }
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{name}="{value}"' for name, value in parts.items())

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Of an answer or a notification. Raises InvalidSignature."""
        assert headers["Wechatpay-Serial"] == self._platform_serial
        assert abs(int(headers["Wechatpay-Timestamp"]) - time.time()) < 300
        text = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + body + b"\n"
        signature = base64.b64decode(headers["Wechatpay-Signature"])
        self._platform_key.verify(signature, text, padding.PKCS1v15(), SHA256())

    def opened(self, sealed: Mapping[str, str]) -> bytes:
        """What the platform encrypted under the APIv3 key: a certificate, a notification's resource."""
        associated = sealed["associated_data"].encode()
        cipher = AESGCM(self.config["apiv3_key"].encode())
        return cipher.decrypt(sealed["nonce"].encode(), base64.b64decode(sealed["ciphertext"]), associated)


class PlainWeChatV2:
    """API v2, HMAC-SHA256. config: `wechat` of the client config."""

    def __init__(self, config: Mapping[str, Any], session: aiohttp.ClientSession) -> None:
        self.config = config
        self._session = session

    async def pay(self, behaviour: str, number: str, amount_fen: int = 1234, timeout_s: float = 10.0) -> dict[str, str]:
        content = {"body": "tea", "out_trade_no": number, "total_fee": str(amount_fen), "spbill_create_ip": "127.0.0.1"}
        return await self.call("/pay/micropay", content | {"auth_code": self.config["codes"][behaviour]}, timeout_s)

    async def call(self, path: str, content: Mapping[str, str], timeout_s: float = 10.0) -> dict[str, str]:
        """The answer's fields, its signature verified."""
        fields = {"appid": self.config["appid"], "mch_id": self.config["mchid"], "nonce_str": uuid4().hex}
        fields |= dict(content) | {"sign_type": "HMAC-SHA256"}
        root = ElementTree.Element("xml")
        for name, value in (fields | {"sign": self._sign(fields)}).items():
            ElementTree.SubElement(root, name).text = value
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        url, body = self.config["base_url"] + path, ElementTree.tostring(root, encoding="utf-8")
        async with self._session.post(
            url, data=body, headers={"Content-Type": "text/xml"}, timeout=timeout
        ) as response:
            parsed = ElementTree.fromstring(await response.text())
        answer = {each.tag: each.text or "" for each in parsed}
        assert hmac.compare_digest(answer.pop("sign"), self._sign(answer))
        return answer

    def _sign(self, fields: Mapping[str, str]) -> str:
        text = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if fields[name])
        key = self.config["v2_key"]
        return hmac.new(key.encode(), f"{text}&key={key}".encode(), hashlib.sha256).hexdigest().upper()
