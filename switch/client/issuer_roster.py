"""Which switch processes live, and where a stream is missing. Pure: `switch.client.issuer` dials."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence


class Roster:
    """What the switch has told of its processes, and the addresses to begin with.

    seeds: `host:port`. links_per_process: how many streams to each process. Several processes may share one address.
    """

    def __init__(self, seeds: Sequence[str], links_per_process: int = 1) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._links_per_process = links_per_process
        self._addresses: dict[str, str] = {}

    def learn(self, processes: Mapping[str, str]) -> bool:
        """Addresses by name, of all that live; whether that is news. A switch that knows none has said nothing."""
        if not processes or processes == self._addresses:
            return False
        self._addresses = dict(processes)
        return True

    def missing(self, held: Sequence[tuple[str, str]], unreachable: Collection[str] = ()) -> dict[str, int]:
        """How many streams to dial at which address.

        held: (process, address dialled) of each live stream. unreachable: addresses that were dialled in vain; their
        processes are looked for behind the first addresses as well, where a balancer may stand.

        >>> roster = Roster(["a:1"])
        >>> roster.missing([])
        {'a:1': 1}
        >>> _ = roster.learn({"p": "a:1", "q": "a:1", "r": "b:1"})
        >>> roster.missing([("p", "a:1")])
        {'a:1': 1, 'b:1': 1}
        """
        wanted: Counter[str] = Counter()
        astray = 0
        of_process = Counter(process for process, _ in held)
        for process, address in self._addresses.items():
            count = max(0, self._links_per_process - of_process[process])
            wanted[address] += count
            astray += count if address in unreachable else 0
        if not self._addresses or not held:
            # What was told may be out of date by now: begin anew as well.
            of_seed = Counter(address for _, address in held)
            for seed in self._seeds:
                wanted[seed] = max(wanted[seed], self._links_per_process - of_seed[seed])
        else:
            for seed in self._seeds:
                wanted[seed] = max(wanted[seed], astray)
        return {address: count for address, count in wanted.items() if count > 0}

    def full(self, held: Sequence[tuple[str, str]]) -> list[str]:
        """The processes that need no further stream."""
        of_process = Counter(process for process, _ in held if process)
        return [process for process, count in of_process.items() if count >= self._links_per_process]

    def is_gone(self, process: str) -> bool:
        """Whether the switch has told its processes, and not this one."""
        return bool(self._addresses) and process not in self._addresses

    def sharing(self, address: str) -> int:
        """How many processes may be behind an address, at least one; behind one of the first addresses, all."""
        told = len(self._addresses) if address in self._seeds else Counter(self._addresses.values())[address]
        return max(1, told)
