from switch.client.requests import card_payment, code_payment, nfc_payment


def test_exactly_one_way_of_presenting():
    tap = nfc_payment("m1", "t1", (100, "CNY"), b"\x9f\x36\x02\x00\x01", pin_block=bytes(8))
    assert (tap.WhichOneof("presented"), tap.pin.block, tap.pin.format) == ("nfc", bytes(8), 0)
    assert not nfc_payment("m1", "t1", (100, "CNY"), b"").HasField("pin")
    assert code_payment("m1", "t1", (100, "CNY"), "28" * 9).payer_code.code == "28" * 9
    card = card_payment("m1", "t1", (100, "CNY"), "6259000000000005", "4912")
    assert (card.keyed.expiry, card.amount.currency) == ("4912", "CNY")
