"""docs/roles.md: who may make which call, read from the contract. `python -m switch.api.roles_page` prints it."""

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import payswitch.v1
from switch.api.guarded import access_of
from switch.domain.access import Role

_HEAD: Final = """# Roles

Who may make which call. The page is generated from the `access` options of the contract by
`python -m switch.api.roles_page > docs/roles.md`; a test keeps it in step, and walks every call with every role.
`protos/payswitch/v1/access.proto` says what each role is and how a caller shows that it has it.

A caller in none of a call's roles is refused with PERMISSION_DENIED, one that shows nothing with UNAUTHENTICATED.
Merchant roles count only at the merchant that the request's `merchant_id` names. *step-up*: a signed-in user must have
shown a second factor in the last minutes; certificates and API credentials have none to show.
"""


def services() -> list[ServiceDescriptor]:
    """Every service of payswitch.v1 that has stubs, by name."""
    names = sorted(each.name for each in pkgutil.iter_modules(payswitch.v1.__path__) if each.name.endswith("_pb2"))
    modules = [importlib.import_module(f"payswitch.v1.{name}") for name in names]
    found = [each for module in modules for each in module.DESCRIPTOR.services_by_name.values()]
    return sorted(found, key=lambda each: each.name)


def page(of: Iterable[ServiceDescriptor]) -> str:
    """Raises TypeError for a method that names no role."""
    parts = [_HEAD]
    for service in of:
        rows = [_row(method) for method in service.methods]
        parts.append(f"\n## {service.name}\n\n| call | who |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _row(method: MethodDescriptor) -> str:
    access = access_of(method)
    roles = ", ".join(Role(each).name.lower().replace("_", " ") for each in sorted(access.roles))
    return f"| `{method.name}` | {roles}{', *step-up*' if access.step_up else ''} |"


if __name__ == "__main__":
    sys.stdout.write(page(services()))
