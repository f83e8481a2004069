"""Data keys move to a new wrapping key; what they sealed stays as it is."""

from dataclasses import replace
from typing import Final

from switch.ports import Hsm, TokenStore
from switch.vault.answers import values_of

BATCH: Final = 100


async def rotate_wrapping(hsm: Hsm, store: TokenStore, new_label: str) -> int:
    """Wrap every data key that is not under `new_label` anew; returns how many were.

    May be stopped and run again at any time: each batch is complete by itself, and what is done is not looked at again.
    A data key that the HSM refuses is left as it is and its error raised, behind the others of its batch.
    """
    moved = 0
    while keys := await store.data_keys_not_under(new_label, BATCH):
        answers = await hsm.run("rewrap_data_keys", [(each.wrapping_key, new_label, each.wrapped) for each in keys])
        moved += await store.rewrap(
            [
                (each, replace(each, wrapping_key=new_label, wrapped=wrapped))
                for each, wrapped in zip(keys, answers, strict=True)
                if not isinstance(wrapped, Exception)
            ]
        )
        values_of(answers)
    return moved
