"""Which links a publication takes, and who of mine gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crdtpubsub.crdt.delta import Change
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.groups import InGroup, Turns
from crdtpubsub.light import light
from crdtpubsub.names import DECLARATION, NodeId

__all__ = ["Route", "Router"]


@light
class Route:
    """Where a publication to one channel goes. Cached until something about it changes."""

    links: tuple[tuple[NodeId, str], ...]  # owners that are up and their links, sorted
    unlinked: tuple[NodeId, ...]  # owners that are up and that no link of mine reaches
    clients: tuple[str, ...]  # my own members, sorted
    counts: tuple[tuple[NodeId, int], ...]  # members by owner that is up, sorted
    # All of the above but for those in queue groups, who are here: all of a group, and mine.
    groups: tuple[tuple[str, tuple[InGroup, ...]], ...] = ()
    mine: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def members(self) -> int:
        """All of them, everywhere."""
        return sum([n for _, n in self.counts]) + sum([len(group) for _, group in self.groups])

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The links alone."""
        return tuple(endpoint for _, endpoint in self.links)


class Router:
    """Routes of one scope, built on first use and dropped when they may be wrong."""

    ROUTES_MAX = 65_536
    EVERYBODY_MAX = 4096

    def __init__(
        self,
        members: MemberSet,
        listed: Callable[[NodeId], bool],
        link_of: Callable[[NodeId], str | None],
        turns: Turns,
    ) -> None:
        self._members = members
        self._listed = listed
        self._link_of = link_of
        self.turns = turns
        self._routes: dict[str, Route] = {}
        self._everybody: dict[str, tuple[Route, tuple[InGroup, ...]]] = {}

    @property
    def routes(self) -> Mapping[str, Route]:
        """Those that were built and hold. Live."""
        return self._routes

    def route(self, channel: str) -> Route:
        """The route of `channel`. O(1) when nothing changed since the last time."""
        route = self._routes.get(channel)
        if route is None:
            if len(self._routes) >= self.ROUTES_MAX:
                self._routes.clear()
            route = self._routes[channel] = self._build(channel)
        return route

    def local(self, channel: str, exclude: str | None) -> tuple[str, ...]:
        """My members of `channel`, but for `exclude`."""
        clients = self.route(channel).clients
        if exclude is None:
            return clients
        return tuple(client for client in clients if client != exclude)

    def everybody(self, channel: str) -> tuple[InGroup, ...]:
        """Every member that is up, in queue groups or not, sorted: who can be asked there.

        O(1) as `route` is, with which it goes by.
        """
        route = self.route(channel)
        known = self._everybody.get(channel)
        if known is not None and known[0] is route:
            return known[1]
        if known is None and len(self._everybody) >= self.EVERYBODY_MAX:
            self._everybody.clear()
        found = [
            (client, owner)
            for owner, clients in self._members.by_owner(channel).items()
            if self._listed(owner)
            for client in clients
            if client != DECLARATION
        ]
        everybody = tuple(sorted(found))
        self._everybody[channel] = route, everybody
        return everybody

    def forget(self, channel: str) -> None:
        """Its members are others now."""
        self._routes.pop(channel, None)

    def changed(self, change: Change) -> None:
        """Of members that came or went routes go by; of updated ones, if a queue group did."""
        for rows in (change.joined, change.removed):
            for row in rows:
                self._routes.pop(row[0], None)
        for channel in change.channels:
            self._routes.pop(channel, None)
        for channel, _, _, extra in change.updated:
            route = self._routes.get(channel)
            if route is not None and (extra[1] or route.groups):
                del self._routes[channel]

    def clear(self) -> None:
        """A peer came, went, or got a link: every route may differ."""
        self._routes.clear()

    def _build(self, channel: str) -> Route:
        links: list[tuple[NodeId, str]] = []
        unlinked: list[NodeId] = []
        clients: tuple[str, ...] = ()
        counts: list[tuple[NodeId, int]] = []
        groups: dict[str, list[InGroup]] = {}
        for owner, theirs in self._members.by_owner(channel).items():
            grouped = self._members.grouped(owner, channel)
            count = len(theirs) - (DECLARATION in theirs) - len(grouped)
            if not (count or grouped) or not self._listed(owner):
                continue
            for client, group in grouped.items():
                groups.setdefault(group, []).append((client, owner))
            if not count:
                continue
            counts.append((owner, count))
            if owner == self._members.me:
                plain = theirs.keys() - grouped.keys() if grouped else theirs
                clients = tuple(sorted(client for client in plain if client != DECLARATION))
            elif (endpoint := self._link_of(owner)) is not None:
                links.append((owner, endpoint))
            else:
                unlinked.append(owner)
        plain_part = tuple(sorted(links)), tuple(sorted(unlinked)), clients, tuple(sorted(counts))
        if not groups:
            return Route(*plain_part)
        sorted_groups = [(group, tuple(sorted(of))) for group, of in sorted(groups.items())]
        me = self._members.me
        mine = [
            (group, tuple([c for c, owner in of if owner == me])) for group, of in sorted_groups
        ]
        return Route(*plain_part, tuple(sorted_groups), tuple(mine))
