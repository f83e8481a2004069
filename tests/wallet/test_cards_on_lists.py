"""A card on a list is named by its token: the key is that of its payments."""

from wallet_scene import Wallet, fresh_wallet_pan

from switch.payments.credential import HASH_KEY
from switch.wiring.risk_cases import VaultCardKeys


async def test_a_card_behind_a_token_has_the_key_that_its_payments_have(wallet: Wallet) -> None:
    pan = fresh_wallet_pan()
    token = await wallet.vault.token_of(pan)
    [hashed] = await wallet.hsm.keyed_hashes([(HASH_KEY, pan.reveal().encode())])
    assert isinstance(hashed, bytes)
    found = await VaultCardKeys(wallet.vault, wallet.hsm).of_tokens(["6200000000000000", token])
    assert found == [None, hashed[:16].hex()]
