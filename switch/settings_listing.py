"""Lists settings: for the documentation, for error messages and for `payswitch check-config`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, SecretStr

# Between a section and a setting in the name of an environment variable.
NESTED = "__"


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """One setting. path and default: as in the TOML file. variable: in the environment."""

    path: str
    variable: str
    default: str
    description: str


def variable_of(prefix: str, path: Sequence[int | str]) -> str:
    """
    >>> variable_of("PAYSWITCH_", ("budgets", "answer_budget_ms"))
    'PAYSWITCH_BUDGETS__ANSWER_BUDGET_MS'
    """
    return prefix + NESTED.join(map(str, path)).upper()


def settings_of(model: type[BaseModel], prefix: str, above: tuple[str, ...] = ()) -> Iterator[SettingDescription]:
    """Every setting of a model, its sections' included, in the order of their definition."""
    for name, field in model.model_fields.items():
        here = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, prefix, here)
        else:
            default = _as_toml(field.default)
            yield SettingDescription(".".join(here), variable_of(prefix, here), default, field.description or "")


def _as_toml(value: object) -> str:
    if isinstance(value, SecretStr | Path | str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_as_toml(each)}' for name, each in value.items())}}}"
    if isinstance(value, BaseModel):
        return f"{{{', '.join(f'{name} = {_as_toml(each)}' for name, each in value if each is not None)}}}"
    return str(value)


def unknown_variables(
    environment: Mapping[str, str], model: type[BaseModel], prefix: str, also_known: Sequence[str] = ()
) -> list[str]:
    """A line for each variable with the prefix that is no setting. No error: orchestrators set such ones, too."""
    known = {each.variable for each in settings_of(model, prefix)} | set(also_known)
    sections = {name.rpartition(NESTED)[0] for name in known if NESTED in name}
    lines = []
    for name in sorted(environment):
        if name.startswith(prefix) and name not in known | sections:
            near = get_close_matches(name, sorted(known), n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return lines


def in_force(settings: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    """(path, value as in the file) of every setting; secrets are masked by their type."""
    for each in settings_of(type(settings), prefix):
        value: object = settings
        for part in each.path.split("."):
            value = getattr(value, part)
        yield each.path, _as_toml(value)
