"""Brings the witnesses of a campaign together: each loss gets a cause, or is reported to have none.

The witnesses: the clients (what they saw, and the kernel's cookie of their connection), the servers' notes (which
process accepted, handled and answered which cookie), the list of faults, and the trace (where a connection was when a
process died).  The causes are those of the requirements OWN-3.6: a client is lost with the process that serves it; or
with a Distributor that alone holds it, one for each death at most (g); or sent and unanswered when the Distributor
died, by a server that then died too, or refused, or had closed its listener (h).
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.kernel import DISTRIBUTOR, MONITOR

MOMENT = 2.0
"""Seconds after the end of a Distributor was noticed in which its client, on a busy machine, notices it too."""
COOKIE = re.compile(r'"cookie":(\d+)')
STARTED = re.compile(r"(?:server (?P<server>\d+)|the Distributor) of (?P<name>\S+) \(pid (?P<pid>\d+), .*on \S+\) ")
INCARNATION = re.compile(r"restarted, incarnation (\d+)")
SERVED_BY_DEAD_SERVER = "served by a server that died"
SERVED_BY_DEAD_CHILD = "served by a forked child that was killed"
NOT_LOOKED_FOR = "its cause is not looked for without a trace"
HELD_ALONE = "held by a Distributor alone when it died (OWN-3.6g)"
SENT_UNANSWERED = "sent and unanswered when the Distributor died, not taken by its server (OWN-3.6h)"


@dataclass
class Life:
    """One incarnation of a server or of a Distributor, by the trace and the list of faults."""

    who: str
    """As in the trace: ``server CLASS ID`` or ``distributor CLASS INCARNATION``."""
    port: int = 0
    pid: int = 0
    began: float = 0.0
    """Before it was started: a pid may be used again."""
    doomed: float = 0.0
    """When what killed it was done, and no later; 0 where nothing is known to have."""
    why: str = ""
    ended: float = 0.0
    """When the Monitor had noticed its end."""
    ready: float = 0.0
    """When it could first be handed a client, by the word of the Monitor or of the Distributor."""
    place: int = -1
    dynamic: bool = False
    """Of a server: nobody takes its place until somebody waits for it."""
    ends: dict = field(default_factory=dict)
    """Of a Distributor: when it noticed the end of a server's dialog."""

    def suffered(self, fault):
        return self.pid == fault.pid and self.began <= fault.at <= (self.ended or fault.at)

    def doom(self, when, why):
        if not self.doomed or when < self.doomed:
            self.doomed, self.why = when, why


@dataclass
class Recovery:
    """From a fault to the moment when somebody takes its victim's place."""

    what: str
    """How the victim died."""
    at: float
    seconds: float


@dataclass
class Account:
    """Everything that was seen, brought together."""

    visits: list
    faults: list
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    """What the processes took of the machine, by role, at the beginning and at the end."""
    losses: Counter = field(default_factory=Counter)
    deaths: Counter = field(default_factory=Counter)
    """By role and cause."""
    recoveries: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    """What must not be, in words."""

    def count(self, outcome):
        return sum(visit.outcome == outcome for visit in self.visits)

    def table(self):
        """For whoever reads the output."""
        waits = sorted(visit.greeted - visit.began for visit in self.visits if visit.greeted)
        lines = [f"{len(self.visits):,} visits, {sum(visit.requests for visit in self.visits):,} requests answered"]
        lines += [f"  {outcome}: {count:,}" for outcome, count in Counter(v.outcome for v in self.visits).items()]
        lines += [f"    lost, {cause}: {count}" for cause, count in sorted(self.losses.items())]
        lines += [f"  fault, {kind}: {count}" for kind, count in sorted(Counter(f.kind for f in self.faults).items())]
        lines += [f"  death of a {what}: {count}" for what, count in sorted(self.deaths.items())]
        if waits:
            lines.append(f"  waits for the greeting, s: {quantiles(waits)}")
        for what, seconds in sorted(by_kind(self.recoveries).items()):
            lines.append(f"  recovery, {what}, s: {quantiles(seconds)}")
        return "\n".join([*lines, *(f"WRONG: {wrong}" for wrong in self.wrong)])


def by_kind(recoveries):
    """The seconds of the recoveries, sorted, by what they are recoveries from."""
    found = defaultdict(list)
    for recovery in recoveries:
        found[recovery.what].append(recovery.seconds)
    return {what: sorted(seconds) for what, seconds in found.items()}


def quantile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def quantiles(values):
    """In words; the values are sorted."""
    return ", ".join(
        [f"{name} {quantile(values, share):.2f}" for name, share in (("half", 0.5), ("p99", 0.99), ("most", 1.0))]
    )


def account(visits, faults, notes, trace, log="", names=(), *, before=None, after=None, until=float("inf")):
    """Bring the witnesses together.

    Args:
        visits: of the clients.
        faults: what was done.
        notes: the servers' own file.
        trace: that of the instance, while it runs still; None where it has none, and then no cause is looked for.
        log: what the instance has printed: of a process that died before it wrote to the trace it alone has the pid.
        names: of the server classes, in their order.
        before: what the processes took at the beginning, by role: lists of `Level`.
        after: the same at the end.
        until: when everything was up again; what dies later is not judged.
    """
    result = Account(visits, faults, before or {}, after or {})
    _judge_visits(result)
    _compare_levels(result)
    lost = [visit for visit in visits if visit.outcome == "lost"]
    diary = Diary(notes)
    result.wrong += diary.twice
    if trace is None:
        result.losses[NOT_LOOKED_FOR] += len(lost)
        return result
    history = History(trace, {visit.cookie for visit in lost})
    history.name(log, names)
    history.blame(faults)
    _judge_deaths(result, history, until)
    inquest = Inquest(diary, history, faults)
    for visit in sorted(lost, key=lambda visit: visit.ended):
        cause = inquest.cause(visit)
        result.losses[cause or "without a cause"] += 1
        if cause is None:
            result.wrong.append(f"lost without a cause: {visit}; {history.tell(visit.cookie)}")
    return result


def _judge_visits(result):
    for visit in result.visits:
        if visit.outcome in ("mixed", "refused", "hanging", "?"):
            result.wrong.append(f"{visit.outcome}: {visit}")
        elif not visit.cookie:
            result.wrong.append(f"connected, and the kernel knows nothing of it: {visit}")
    names = Counter(visit.name for visit in result.visits)
    result.wrong += [f"the witnesses name visit {name} {times} times" for name, times in names.items() if times > 1]


MEMORY = {"server": 64 << 20}
"""Bytes by which a process of that role may be larger at the end than the largest was before: what its clients sent."""
OTHERS_MEMORY = 16 << 20
"""The same of all others."""


LOGS = (MONITOR, DISTRIBUTOR)
"""Who may have one thread more in the end: that which writes the log begins with the first line that there is."""


def _compare_levels(result):
    """Descriptors and threads exactly; memory with some room, of which a leak in a campaign would make little."""
    for role, before in result.before.items():
        for level in result.after.get(role, ()):
            for what in ("descriptors", "threads"):
                most = max(getattr(each, what) for each in before) + (what == "threads" and role in LOGS)
                if getattr(level, what) > most:
                    result.wrong.append(f"a {role} has {getattr(level, what)} {what}; before: {most}")
            most = max(each.memory for each in before) + MEMORY.get(role, OTHERS_MEMORY)
            if level.memory > most:
                result.wrong.append(f"a {role} has {level.memory >> 20} MiB; at most {most >> 20} MiB were expected")


# ---------------------------------------------------------------- the servers' notes


class Diary:
    """Which process accepted, handled and answered whom."""

    def __init__(self, path):
        self.accepted, self.handled, self.twice = {}, {}, []
        self.handlers = defaultdict(list)
        """When a process began to handle somebody, by pid."""
        served = {}
        for line in path.read_text().splitlines():
            what, pid, cookie, word = line.split()
            pid, cookie = int(pid), int(cookie)
            if what == "serve":
                if word in served:
                    self.twice.append(f"request {word} was served by {served[word]} and by {pid}")
                served[word] = pid
                continue
            if what == "handle":
                self.handlers[pid].append(float(word))
            seen = self.accepted if what == "accept" else self.handled
            if cookie in seen:
                self.twice.append(f"connection {cookie}: {what} by {seen[cookie]} and by {pid}")
            seen[cookie] = pid


# ---------------------------------------------------------------- the trace


@dataclass
class Moment:
    """A line of the trace that speaks of a client."""

    at: float
    life: Life | None
    """Of the server or Distributor that wrote it; None: the Monitor."""
    what: str
    server: Life | None = None
    """To or from whom."""


class History:
    """What the trace records of lives and deaths, and of those clients that were lost."""

    def __init__(self, trace, cookies):
        self.lives, self.stories = {}, defaultdict(list)
        self._cookies, self._event = cookies, {}
        self._current = {}
        self._ports, self._static = [], []
        with open(trace) as file:
            for line in file:
                if '"who":"monitor"' in line:
                    self._of_monitor(json.loads(line))
                elif '"start":' in line or '"DialogEnded"' in line or '"ServerReady"' in line:
                    self._of_life(json.loads(line))
                if not cookies.isdisjoint(map(int, COOKIE.findall(line))):
                    self._of_client(json.loads(line))

    def name(self, log, names):
        """Learn the pids of all that was started."""
        for line in log.splitlines():
            found = STARTED.search(line)
            if found is None or found["name"] not in names or "started" not in line:
                continue
            incarnation = INCARNATION.search(line)
            number = found["server"] or (incarnation[1] if incarnation else "1")
            role = "server" if found["server"] else "distributor"
            self._life(f"{role} {names.index(found['name'])} {number}").pid = int(found["pid"])

    def blame(self, faults):
        """Find for each life the fault that has ended it."""
        for fault in faults:
            for life in self.lives.values():
                if fault.deadly and life.suffered(fault):
                    life.doom(fault.at, fault.kind)

    def tell(self, cookie):
        """In words, for a loss that nobody can explain."""
        said = [f"{m.at:.3f} {m.life.who if m.life else 'monitor'}: {m.what}" for m in self.stories[cookie]]
        return "; ".join(said) or "the trace does not speak of it"

    def answered_for(self, cookie):
        """The servers whose `Accepted` has made a Distributor close its own copy of the connection, by its own lines.

        An `Accepted` for a client that the server was not handed closes nothing.
        """
        story = [m for m in self.stories[cookie] if m.life is not None and m.life.who.startswith("distributor")]
        pairs = pairwise(story)
        return [m.server for m, then in pairs if (m.what, then.what) == ("Received Accepted", "CloseCopy")]

    def server(self, pid, visit):
        """The server whose main process this was during the visit."""
        for life in self.lives.values():
            then = life.began <= visit.ended and visit.began <= (life.ended or visit.began)
            if then and life.pid == pid and life.who.startswith("server"):
                return life
        return None

    def distributors(self, port):
        return [life for life in self.lives.values() if life.who.startswith("distributor") and life.port == port]

    def of_place(self, life):
        """The servers of the same place in the class, in their order."""
        kind, number = life.who.split()[:2]
        same = [other for other in self.lives.values() if other.who.split()[:2] == [kind, number]]
        return [other for other in same if other.place == life.place]

    def _life(self, who):
        if who not in self.lives:
            number = int(who.split()[1])
            self.lives[who] = Life(who, self._ports[number] if number < len(self._ports) else 0)
        return self.lives[who]

    # ------------------------------------------------ lives

    def _of_monitor(self, record):
        at = record["t"]
        if "start" in record:
            self._ports = [cls["listeners"][0][0] for cls in record["start"]["classes"]]
            self._static = [cls["static"] for cls in record["start"]["classes"]]
        elif "event" in record:
            self._event = event = {**record["event"], "at": at}
            match event:
                case {"is": "ServerExited", "class_id": number, "server": server}:
                    self._life(f"server {number} {server}").ended = at
                case {"is": "DistributorExited", "class_id": number} if number in self._current:
                    self._current.pop(number).ended = at
                case {"is": "Reported", "class_id": number, "message": {"is": "ServerReady", "server": server}}:
                    life = self._life(f"server {number} {server}")
                    life.ready = life.ready or at
        elif "effect" in record:
            match record["effect"]:
                case {"is": "StartServer", "class_id": number, "server": server, "place": place}:
                    life = self._life(f"server {number} {server}")
                    life.place, life.dynamic = place, place >= self._static[number]
                    life.began = self._event.get("at", at)
                case {"is": "StartDistributor", "class_id": number, "incarnation": incarnation}:
                    self._current[number] = life = self._life(f"distributor {number} {incarnation}")
                    life.began = self._event.get("at", at)
                case {"is": "Kill" | "Terminate", "class_id": number, "server": server}:
                    self._condemn(self._life(f"server {number} {server}"))
                case {"is": "KillDistributor", "class_id": number} if number in self._current:
                    self._condemn(self._current[number])

    def _condemn(self, life):
        """By the Monitor: for the reason that its event is."""
        match self._event:
            case {"is": "ElementFailed", "at": at}:
                life.doom(at, "its processing element was lost")
            case {"is": "Reported", "message": {"is": "Unresponsive"}, "at": at}:
                life.doom(at, "taken for hung")
            case {"is": "Reported", "message": {"is": "Drained"}, "at": at}:
                life.doom(at, "a dynamic server, no longer needed")
            case {"is": "ServerExited"}:
                pass  # it is dead; this is for what it has forked
            case {"at": at, "is": name}:
                life.doom(at, f"by the Monitor, after {name}")

    def _of_life(self, record):
        life = self._life(record["who"])
        if "start" in record:
            life.pid = record["pid"]
        elif (event := record.get("event", {})).get("is") == "DialogEnded":
            life.ends.setdefault(f"server {life.who.split()[1]} {event['server']}", record["t"])
        elif record.get("effect", {}).get("is") == "SendMonitor":
            life.ready = life.ready or record["t"]

    # ------------------------------------------------ clients

    def _of_client(self, record):
        life = None if record["who"] == "monitor" else self._life(record["who"])
        said = record.get("event") or record.get("effect") or {}
        message = (said.get("reply") or said).get("message", {})
        cookie = said.get("cookie") or (said.get("client") or message.get("client") or {}).get("cookie")
        if cookie is None:
            return  # an InitialMsg that names it, or a timer
        server = None
        if life is not None and "server" in said:
            server = self._life(f"server {life.who.split()[1]} {said['server']}")
        what = " ".join(filter(None, [said["is"], message.get("is"), "" if said.get("intact", True) else "broken"]))
        self.stories[cookie].append(Moment(record["t"], life, what, server))


# ---------------------------------------------------------------- deaths


def _judge_deaths(result, history, until):
    """Each death has a cause, and each victim a successor; how long that took."""
    starved = [fault for fault in result.faults if fault.kind.startswith("starve")]
    for life in history.lives.values():
        if not life.ended or life.ended > until:
            continue
        role = life.who.split()[0]
        if not life.doomed and any(map(life.suffered, starved)):
            life.doom(life.ended, "out of descriptors")
        result.deaths[f"{role}: {life.why or 'without a cause'}"] += 1
        if life.doomed:
            _measure_recovery(result, history, life, role)
        else:
            result.wrong.append(f"died without a cause: {life}")


def _measure_recovery(result, history, life, role):
    if role == "server":
        if life.dynamic:
            return
        others = history.of_place(life)
    else:
        others = history.distributors(life.port)
    later = [other.ready for other in others if other.ready > life.ended]
    if later:
        result.recoveries.append(Recovery(f"{role}: {life.why}", life.doomed, min(later) - life.doomed))


# ---------------------------------------------------------------- causes


class Inquest:
    """Finds the cause of each loss; a Distributor's death, and a child's, is the cause of one at most."""

    def __init__(self, diary, history, faults):
        self.diary, self.history = diary, history
        self.children = [fault for fault in faults if fault.deadly and fault.role == "child"]
        self.charged = set()

    def cause(self, visit):
        """Why the client was lost; None where nobody knows."""
        if visit.cookie in self.diary.accepted:
            return self._of_accepted(visit)
        story = self.history.stories[visit.cookie]
        taken = [m for m in story if m.what == "MessageRead HandOff"]
        if taken and (self._is_answered(story, taken[-1]) or not self._given_up(story, taken[-1])):
            return self._with_server(visit, taken[-1].life)
        return self._with_distributor(visit, story)

    def _of_accepted(self, visit):
        """By a program that had noted it."""
        main = self.diary.accepted[visit.cookie]
        handler = self.diary.handled.get(visit.cookie, main)
        if any(child.pid == handler and visit.began <= child.at <= visit.ended for child in self.children):
            return SERVED_BY_DEAD_CHILD
        if visit.cookie not in self.diary.handled and self._unnoted_child(visit, main):
            return SERVED_BY_DEAD_CHILD
        life = self.history.server(main, visit)
        return self._with_server(visit, life) if life is not None else None

    def _unnoted_child(self, visit, main):
        """Whether a child of that server was killed, then, before it could note whom it handles."""
        for number, child in enumerate(self.children):
            fits = child.main == main and visit.began <= child.at <= visit.ended < child.at + MOMENT
            noted = any(visit.began <= at <= child.at for at in self.diary.handlers[child.pid])
            if fits and not noted and number not in self.charged:
                self.charged.add(number)
                return True
        return False

    def _with_server(self, visit, life):
        return SERVED_BY_DEAD_SERVER if life.doomed and life.doomed <= visit.ended else None

    def _given_up(self, story, taken):
        """Whether the server has reported since that it does not have the client."""
        return any(m.life is taken.life and m.at >= taken.at and m.what in GIVEN_UP for m in story)

    def _is_answered(self, story, taken):
        """Whether the Distributor has the answer, and so no copy any more.

        A child of a server whose main process died just then cannot know that, and gives the client up all the same.
        """
        return any(m.server is taken.life and m.at >= taken.at and m.what == "Received Accepted" for m in story)

    def _with_distributor(self, visit, story):
        """In no program's hands: the last Distributor that had it must have died with it."""
        mine = [m for m in story if m.life is not None and m.life.who.startswith("distributor")]
        if not mine:
            return self._untraced(visit)
        last = mine[-1]
        life = last.life
        if not life.doomed or life.doomed > visit.ended:
            return None
        if last.what != "Send HandOff":
            return None if self._is_stored(story) else self._charge(life)
        server = last.server
        if server.who in life.ends:
            return self._charge(life)  # taken back, and not placed again
        refused = any(m.life is server and m.what in GIVEN_UP for m in story)
        return SENT_UNANSWERED if refused or (server.doomed and server.doomed <= visit.ended) else None

    def _is_stored(self, story):
        """By the Monitor, which reads a dead Distributor's channel to the end: its own lines may lack the end."""
        heard = [m.what for m in story if m.life is None and m.what in ("Reported Store", "Reported Release")]
        return heard[-1:] == ["Reported Store"]

    def _untraced(self, visit):
        """Accepted, and the trace had no time to record it: by a Distributor that died while the client was there."""
        for life in self.history.distributors(visit.port):
            if life.doomed and visit.began <= life.ended + MOMENT and life.doomed <= visit.ended < life.ended + MOMENT:
                cause = self._charge(life)
                if cause is not None:
                    return cause
        return None

    def _charge(self, life):
        if life.who in self.charged:
            return None
        self.charged.add(life.who)
        return HELD_ALONE


GIVEN_UP = ("MessageRead HandOff broken", "Sent Refused", "Interrupted Accepted", "Discard")
"""Words of a server that it does not have the client."""
