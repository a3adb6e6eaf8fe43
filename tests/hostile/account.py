"""Brings together what was seen of a hostile campaign: who was disturbed, by how much, and what must not be.

The witnesses: the clients of good will (what they saw), the honest servers' notes, the hostile copies' deeds, the
status as it was asked for all the time, the log, and the Distributors' own lines of the trace.  A client may
suffer from a hostile copy only where that copy has had its connection: by the notes of the copy or of the client; or
because its stand-in has answered for the client, upon which the Distributor closed its own copy of the connection, and
was killed before the program noted anything.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.account import History, quantile
from tests.faults.kernel import DISTRIBUTOR, MONITOR

DEATH = re.compile(r"server \d+ of (?P<name>\S+) \(pid (?P<pid>\d+)\) (?P<how>.*)")
DISTRIBUTOR_DEATH = re.compile(r"the Distributor of \S+ \(pid \d+\) .*|distributor of \S+: the Monitor is gone.*")
SILENT = "restarting"
"""The phase in the status of a Distributor that does not answer within a second."""
SILENCE = 10
"""Looks in a row at which it may not: on a busy machine it may be slow, and is not dead."""
WELL = ("served", "left")
"""Outcomes of a visit that nothing has disturbed."""
ROOM = 16 << 20
"""Bytes by which a Distributor or the Monitor may have grown."""


@dataclass
class Deeds:
    """What the hostile copies noted."""

    pids: set = field(default_factory=set)
    attacks: list = field(default_factory=list)
    taken: set = field(default_factory=set)
    """The cookies of the connections that they had."""
    survived: list = field(default_factory=list)
    """Of each life that left hidden processes: the seconds by which the last outlived the copy's main process."""

    @classmethod
    def read(cls, directory):
        made, alive, hidden = cls(), {}, {}
        for line in (directory / "deeds").read_text().splitlines():
            what, pid, word, at = line.split()
            pid, at = int(pid), float(at)
            match what:
                case "hostile":
                    made.pids.add(pid)
                case "attack":
                    made.attacks.append(word.replace("_", " "))
                case "taken":
                    made.taken.add(int(word))
                case "hidden":
                    hidden[int(word)] = max(at, hidden.get(int(word), at))
                    continue
            alive[pid] = at
        made.survived = [max(0.0, at - alive[main]) for main, at in hidden.items()]
        served = directory / "served by the hostile"
        for line in served.read_text().splitlines() if served.exists() else ():
            made.taken.add(int(line.split()[2]))
        return made


@dataclass
class Asked:
    """The status, asked for once."""

    at: float
    took: float
    distributors: tuple
    """Of each class: pid, incarnation, phase."""
    servers: tuple
    """Of each class: the set of the pids."""


@dataclass
class Account:
    """Everything that was seen, brought together."""

    waits: dict
    """Seconds from connect to greeting, sorted, by who: in peace and in war, of which class."""
    visits: Counter
    """By class and outcome."""
    attacks: Counter
    survived: list
    asked: list
    guests: Counter
    """What the hostile clients did."""
    suffered: int = 0
    """Clients that a hostile copy had, and that were not served for it."""
    wrong: list = field(default_factory=list)
    """What must not be, in words."""

    def table(self):
        """For whoever reads the output."""
        lines = [f"{sum(self.attacks.values())} attacks, {sum(self.guests.values()):,} hostile visits"]
        lines += [f"  {name}: {times}" for name, times in sorted(self.attacks.items())]
        lines += [f"  visits, {name}, {outcome}: {times:,}" for (name, outcome), times in sorted(self.visits.items())]
        lines.append(f"  not served by a hostile copy that had them: {self.suffered}")
        for who, waits in self.waits.items():
            shares = (
                ", ".join(f"{share:g}: {quantile(waits, share):.3f}" for share in (0.5, 0.99, 1.0)) if waits else "-"
            )
            lines.append(f"  waits, s, {who}: {shares}")
        lines.append(
            f"  status: asked {len(self.asked)} times, {self.slowest():.3f} s at most, {self.unanswered()} late"
        )
        lines.append(
            f"  outlived its server by, s: {max(self.survived, default=0):.3f} at most, of {len(self.survived)}"
        )
        return "\n".join([*lines, *(f"WRONG: {wrong}" for wrong in self.wrong)])

    def unanswered(self):
        """How often a Distributor did not answer for a status within a second."""
        return sum(phase == SILENT for each in self.asked for _, _, phase in each.distributors)

    def slowest(self):
        return max((each.took for each in self.asked), default=0.0)


def account(classes, ports, hostile, visits, diary, deeds, asked, guests, war, log, trace, before, after):
    """Bring the witnesses together.

    Args:
        classes: the names of the server classes.
        ports: theirs, in the same order.
        hostile: the name of the one with a hostile copy.
        visits: of the clients of good will.
        diary: the honest servers' notes (`tests.faults.account.Diary`).
        deeds: the hostile ones'.
        asked: every `Asked`.
        guests: how often the hostile clients did what.
        war: when it began and when it ended.
        log: of the instance.
        trace: of the instance; no hostile copy has written to it.
        before: what the processes took before, by role: lists of `Level`.
        after: the same at the end.
    """
    name_of = dict(zip(ports, classes, strict=True))
    waits = defaultdict(list)
    result = Account({}, Counter(), Counter(deeds.attacks), deeds.survived, asked, guests)
    result.wrong += diary.twice
    history = History(trace, {visit.cookie for visit in visits if visit.outcome not in WELL})
    for visit in visits:
        name = name_of[visit.port]
        had = visit.server in deeds.pids or visit.cookie in deeds.taken
        had = had or any(server.pid in deeds.pids for server in history.answered_for(visit.cookie))
        result.visits[name, visit.outcome] += 1
        if visit.greeted and visit.server not in deeds.pids:
            when = "in war" if visit.greeted > war[0] and visit.began < war[1] else "in peace"
            waits[f"{name}, {when}"].append(visit.greeted - visit.began)
        if visit.outcome in WELL:
            continue
        if visit.outcome in ("lost", "mixed") and had and name == hostile:
            result.suffered += 1
        else:
            by = "an honest copy had it" if visit.cookie in diary.accepted else "no copy had it"
            result.wrong.append(f"{name}: {visit.outcome} ({by}): {visit}; {history.tell(visit.cookie)}")
    result.waits = {who: sorted(found) for who, found in sorted(waits.items())}
    result.wrong += _deaths(log, deeds) + _changes(asked, deeds) + _levels(before, after)
    return result


def _deaths(log, deeds):
    """Every process that died and should not have."""
    found = [f"died: {match[0]}" for match in DEATH.finditer(log) if int(match["pid"]) not in deeds.pids]
    return found + [f"died: {match[0]}" for match in DISTRIBUTOR_DEATH.finditer(log)]


def _changes(asked, deeds):
    """Distributors that were replaced, or did not answer for long; honest servers that are others now."""
    found, silent = [], defaultdict(int)
    for before, now in pairwise(asked):
        for place, (old, new) in enumerate(zip(before.distributors, now.distributors, strict=True)):
            if old[:2] != new[:2]:
                found.append(f"a Distributor: (pid, incarnation) {old[:2]} became {new[:2]}")
            silent[place] = silent[place] + 1 if new[2] == SILENT else 0
            if silent[place] == SILENCE:
                found.append(f"a Distributor, pid {new[0]}, did not answer {SILENCE} times in a row")
        for old, new in zip(before.servers, now.servers, strict=True):
            if gone := old - new - deeds.pids:
                found.append(f"honest servers are gone: {sorted(gone)}")
    return found


def _levels(before, after):
    """What Monitor and Distributors have more than they had."""
    found = []
    for role in (MONITOR, DISTRIBUTOR):
        # The thread that writes the log begins with the first line that there is.
        for what, room in (("descriptors", 0), ("threads", 1), ("memory", ROOM)):
            old, new = (max(getattr(level, what) for level in levels[role]) for levels in (before, after))
            if new > old + room:
                found.append(f"a {role} has {new:,} {what}; before: {old:,}")
    return found
