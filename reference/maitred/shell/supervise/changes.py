"""Changes that an operator asks for while the instance runs: servers leave, are replaced, are more or fewer; the
configuration file is read again.

Each becomes an event of the Monitor's machine, which decides.  The file is checked as a whole before any of it is
applied; what cannot change while the instance runs is refused, and then nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from maitred.config import toml_file, values
from maitred.config.error import ConfigError
from maitred.config.model import Config, ServerClass
from maitred.core import monitor as core
from maitred.core.monitor import ClassId, PlaceId, Retirement
from maitred.core.transition import Rejected
from maitred.shell.io import report
from maitred.shell.supervise import status
from maitred.shell.supervise.programs import PROGRAM, Programs
from maitred.shell.supervise.servers import Machine

LIVE: Final = ("static", "dynamic", *PROGRAM)
"""The fields of a class that may change while it runs."""


class RefusedError(Exception):
    """The change is not made; the text says why."""


class Changes:
    """The changes of one instance."""

    def __init__(self, config: Config, machine: Machine, programs: Programs) -> None:
        """Nothing has changed yet."""
        self._config = config
        self._machine = machine
        self._programs = programs

    def answer(self, request: status.Json) -> status.Json:
        """Make the change, as far as it can be made at once; the reply says what is to be waited for."""
        try:
            match request:
                case {"request": "retire", "target": str(target), "limited": bool(limited), **rest} if not rest:
                    return self._retire(target, limited)
                case {"request": "restart", "target": str(target), "at_once": bool(at_once), **rest} if not rest:
                    return self._restart(target, at_once)
                case {"request": "scale", "class": str(name), "static": static, "dynamic": dynamic, **rest} if not rest:
                    return self._scale(self._class(name), static, dynamic)
                case {"request": "reload", "class": str() | None as name, "at_once": bool(at_once), **rest} if not rest:
                    return self.reload(name, at_once)
            return {"error": f"{request.get('request')}: a key is missing, unknown or of another kind"}
        except (RefusedError, ConfigError) as error:
            return {"error": str(error)}

    # ================================================================ who is meant

    def _class(self, name: str) -> ClassId:
        names = [cls.name for cls in self._config.classes]
        if name not in names:
            raise RefusedError(f"no server class is named {name!r}; there are: {', '.join(names)}")
        return names.index(name)

    def _meant(self, target: str) -> tuple[ClassId, list[PlaceId]]:
        """The places that the name of a class or the number of a server stands for; of a class, those in service."""
        if not target.isdecimal():
            class_id = self._class(target)
            places = self._machine.state.classes[class_id].places.values()
            return class_id, [place.place for place in places if place.retirement is Retirement.NONE]
        for class_id, cls in self._machine.state.classes.items():
            for place in cls.places.values():
                if place.server == int(target):
                    return class_id, [place.place]
        raise RefusedError(f"there is no server {target}; `maitred status` lists them")

    def _take(self, event: core.Event) -> None:
        declined = self._machine.handle(event)
        if isinstance(declined, Rejected):
            raise RefusedError(declined.reason.value)

    # ================================================================ the changes

    def _retire(self, target: str, limited: bool) -> status.Json:
        class_id, places = self._meant(target)
        cls = self._machine.state.classes[class_id]
        servers: list[object] = [cls.places[place].server for place in places]
        how = f"within {self._config.durations.grace:g} s" if limited else "when its clients have left"
        wishes = [core.Retire(class_id, place, limited) for place in places]
        for reason in filter(None, (core.guard(self._machine.state, wish) for wish in wishes)):
            raise RefusedError(reason.value)
        for place, wish in zip(places, wishes, strict=True):
            self._take(wish)
            report.info(f"server {cls.places[place].server} of {self._name(class_id)} is to leave {how}, as asked")
        return {"ok": True, "class": self._name(class_id), "leaving": servers}

    def _restart(self, target: str, at_once: bool) -> status.Json:
        class_id, places = self._meant(target)
        return self._replace(class_id, places, self._machine.state.classes[class_id].program, at_once)

    def _replace(self, class_id: ClassId, places: list[PlaceId], program: int, at_once: bool) -> status.Json:
        cls = self._machine.state.classes[class_id]
        servers: list[object] = [cls.places[place].server for place in places]
        self._take(core.Replace(class_id, tuple(places), program, at_once))
        report.info(
            f"servers of {self._name(class_id)} are replaced {'at once' if at_once else 'one by one'}, as asked"
        )
        return {"ok": True, "class": self._name(class_id), "leaving": servers}

    def _scale(self, class_id: ClassId, static: object, dynamic: object) -> status.Json:
        config = self._machine.state.classes[class_id].config
        wanted = {"static": config.static, "dynamic": config.dynamic}
        for key, least, given in (("static", 1, static), ("dynamic", 0, dynamic)):
            if given is not None:
                wanted[key] = values.at(f"--{key}", values.whole(least, values.MAX_SERVERS), given)
        self._take(core.Scale(class_id, wanted["static"], wanted["dynamic"]))
        numbers = f"{wanted['static']} static and {wanted['dynamic']} dynamic servers"
        report.info(f"{self._name(class_id)} is to have {numbers}, as asked")
        return {"ok": True, "class": self._name(class_id), "leaving": [], **wanted}

    def more(self, static: int) -> str | None:
        """One static server more, or one fewer, of the only class; why not, where that is refused."""
        if len(self._config.classes) > 1:
            return "there are several server classes: use maitred scale CLASS"
        try:
            self._scale(0, self._machine.state.classes[0].config.static + static, None)
        except (RefusedError, ConfigError) as error:
            return str(error)
        return None

    def reload(self, only: str | None, at_once: bool) -> status.Json:
        """Read the file again, and apply what has changed in it, to all classes or to one.

        Raises:
            RefusedError: something cannot be changed now; nothing is.
            ConfigError: the file is wrong.
        """
        if self._config.file is None:
            raise RefusedError("nothing to reload: this instance was started without a configuration file")
        new = toml_file.reread(self._config.file, self._config)
        self._check_unchanged(new)
        if only is not None:
            self._class(only)
        wanted = [(i, cls) for i, cls in enumerate(new.classes) if only in (None, cls.name)]
        changed = [(i, cls) for i, cls in wanted if self._differs(i, cls)]
        for class_id, _ in changed:
            if self._machine.state.classes[class_id].replacement is not None:
                raise RefusedError(
                    f"servers of {self._name(class_id)} are being replaced already: wait, then try again"
                )
        replaced: list[object] = []
        for class_id, cls in changed:
            config = self._machine.state.classes[class_id].config
            if (cls.static, cls.dynamic) != (config.static, config.dynamic):
                self._scale(class_id, cls.static, cls.dynamic)
            program = self._programs.number(class_id, cls)
            if program != self._machine.state.classes[class_id].program:
                self._replace(class_id, [], program, at_once)
                replaced.append(cls.name)
        names: list[object] = [cls.name for _, cls in changed]
        report.info(f"reloaded {self._config.file}: {', '.join(map(str, names)) or 'nothing'} changed")
        return {"ok": True, "changed": names, "replaced": replaced}

    def _differs(self, class_id: ClassId, cls: ServerClass) -> bool:
        state = self._machine.state.classes[class_id]
        before = self._programs.of(class_id, state.program)
        same = all(getattr(before, name) == getattr(cls, name) for name in PROGRAM)
        return not same or (cls.static, cls.dynamic) != (state.config.static, state.config.dynamic)

    def _check_unchanged(self, new: Config) -> None:
        for what in self._fixed(new):
            raise RefusedError(
                f"{self._config.file}: {what} cannot be changed while the instance runs; nothing has been changed"
            )

    def _fixed(self, new: Config) -> Iterator[str]:
        """What the file would have changed and cannot."""
        if [cls.name for cls in new.classes] != [cls.name for cls in self._config.classes]:
            yield "the list of server classes"
            return
        if new.elements != self._config.elements:
            yield "the list of processing elements"
        for field in fields(new.durations):
            if getattr(new.durations, field.name) != getattr(self._config.durations, field.name):
                yield field.name
        for old, cls in zip(self._config.classes, new.classes, strict=True):
            for each in fields(cls):
                if each.name not in LIVE and getattr(cls, each.name) != getattr(old, each.name):
                    yield f"{each.name} of {cls.name}"

    def _name(self, class_id: ClassId) -> str:
        return self._config.classes[class_id].name
