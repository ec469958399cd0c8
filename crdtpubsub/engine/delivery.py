"""Which links a publication takes, and who of mine gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crdtpubsub.crdt.memberset import MemberSet
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

    @property
    def members(self) -> int:
        """All of them, everywhere."""
        return sum(count for _, count in self.counts)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The links alone."""
        return tuple(endpoint for _, endpoint in self.links)


class Router:
    """Routes of one scope, built on first use and dropped when they may be wrong."""

    ROUTES_MAX = 65_536

    def __init__(
        self,
        members: MemberSet,
        listed: Callable[[NodeId], bool],
        link_of: Callable[[NodeId], str | None],
    ) -> None:
        self._members = members
        self._listed = listed
        self._link_of = link_of
        self._routes: dict[str, Route] = {}

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

    def touched(self, channels: Iterable[str]) -> None:
        """The members of these channels are others now."""
        for channel in channels:
            self._routes.pop(channel, None)

    def clear(self) -> None:
        """A peer came, went, or got a link: every route may differ."""
        self._routes.clear()

    def _build(self, channel: str) -> Route:
        links: list[tuple[NodeId, str]] = []
        unlinked: list[NodeId] = []
        clients: tuple[str, ...] = ()
        counts: list[tuple[NodeId, int]] = []
        for owner, theirs in self._members.by_owner(channel).items():
            count = len(theirs) - (DECLARATION in theirs)
            if not count or not self._listed(owner):
                continue
            counts.append((owner, count))
            if owner == self._members.me:
                clients = tuple(sorted(client for client in theirs if client != DECLARATION))
            elif (endpoint := self._link_of(owner)) is not None:
                links.append((owner, endpoint))
            else:
                unlinked.append(owner)
        return Route(tuple(sorted(links)), tuple(sorted(unlinked)), clients, tuple(sorted(counts)))
