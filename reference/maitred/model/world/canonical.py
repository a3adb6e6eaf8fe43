"""Sequence numbers mean their order only: those of one server's counts are renumbered without gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from maitred.core import distributor
from maitred.core.messages import FromServer
from maitred.core.numbering import closed_up
from maitred.core.tree import Tree
from maitred.model.world.state import Group, issued, map_issued

M = TypeVar("M", bound=FromServer)


def renumbered(group: Group, status: distributor.ServerStatus | None) -> tuple[Group, distributor.ServerStatus | None]:
    """The server and what the Distributor knows of it, with the sequence numbers renumbered, the counter with them."""
    found = {message.count.sequence for link in group.links for message in link.to_distributor}
    found.update(reply.message.count.sequence for reply in issued(group))
    if status is not None:
        found.add(status.count.sequence)
        found.update(dialog.sequence for dialog in status.dialogs.values())
    # -1 (none received) and 0 (none issued) are no counts, and stay
    order = closed_up(found | {-1, 0}, group.endpoint.sequence if group.alive else None, first=-1)
    if all(old == new for old, new in order.items()):
        return group, status

    def numbered(message: M) -> M:
        return replace(message, count=replace(message.count, sequence=order[message.count.sequence]))

    links = (link._replace(to_distributor=tuple(map(numbered, link.to_distributor))) for link in group.links)
    group = map_issued(group._replace(links=tuple(links)), numbered)
    if group.alive:
        group = group._replace(endpoint=replace(group.endpoint, sequence=order[group.endpoint.sequence]))
    if status is not None:
        dialogs = Tree.of((p, replace(d, sequence=order[d.sequence])) for p, d in status.dialogs.items())
        count = replace(status.count, sequence=order[status.count.sequence])
        status = replace(status, count=count, dialogs=dialogs)
    return group, status
