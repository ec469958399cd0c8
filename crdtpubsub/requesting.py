"""What a node asks of one member: the half of `Node` that requests, and has others join."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import Final

from crdtpubsub.client import Client
from crdtpubsub.engine.groups import InGroup
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.errors import (
    ClosedError,
    ConfigError,
    NoMembersError,
    NotSeenError,
    QueueFullError,
    UnreachableError,
)
from crdtpubsub.knowing import Knower
from crdtpubsub.names import DEFAULT_SCOPE, check_channel, check_client
from crdtpubsub.publishing import excluded
from crdtpubsub.runtime import Asked, Message, To
from crdtpubsub.views import Address, Member
from crdtpubsub.waiting import Settled, wait_until

__all__ = ["Requester"]

_INVITE_S: Final = 10.0


class Requester(Knower):
    """Questions to one member. `Node` is one; it is no class of its own for users."""

    async def request(
        self,
        to: str | Member | Address,
        data: object,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        exclude: Client | Member | None = None,
    ) -> Message:
        """Ask one member, and wait for what it answers with `Message.reply`.

        Of a channel the reachable members are asked in turn, those on a suspect node only if
        there is no other. One that surely did not get it (it has left, its queue is full, its
        node was restarted or is draining) is passed over for the next; one that may have got it
        is not, so that a request is never handled twice. It is said again until the node of that
        member has it, and delivered once.

        Args:
            to: a channel; or a `Member` or an `Address`, as for `send`: then that one alone.
            data: as for `publish`.
            timeout: seconds to wait for the answer, above 0.
            headers: as for `publish`.
            exclude: one member of the channel that shall not be asked, usually the asking client.

        Returns:
            The answer: its `Message.sender` is the node of who answered.

        Raises:
            NoMembersError: at once: no member of the channel is up, but for the excluded one;
                nothing was sent.
            UnreachableError: at once: no link to any of them, or all refused it: nobody has it. Or
                the node of who has it went down or left before it answered: it may have been done.
            TimeoutError: no answer in time; the message says who was asked. It may have been, or
                may yet be, done; an answer that comes later is dropped, counted as `replies_late`.
            QueueFullError: 16,384 requests are open here, or 4,096 messages unanswered by each
                node that could be asked; nothing was sent.
            ConfigError: `timeout` is no time, `to` is nobody, or `exclude` is no member, or given
                where `to` is no channel.
            PayloadError, PayloadTooLargeError, InvalidNameError: nothing was sent.
            ClosedError: the node, or the scope, was closed, before or meanwhile.
            ForkedError

        If cancelled, whoever was asked may answer all the same; the answer is dropped.
        """
        if isinstance(timeout, bool) or not 0 < timeout < inf:
            raise ConfigError(f"timeout={timeout!r}: for how many seconds shall it be waited?")
        self._runtime.check()
        payload, said = self._packed(data, headers)
        target = To(self._scope, check_channel(to)) if isinstance(to, str) else self._target(to)
        requests, until = self._runtime.asker.requests, monotonic() + timeout
        refusals: dict[InGroup, str] = {}
        but = self._but(to, exclude)
        while (left_s := until - monotonic()) > 0:
            settled = Settled()
            asked = Asked(settled.waker, settled.done)
            try:
                if not isinstance(to, str):
                    requests.ask(asked, target, payload, said, left_s)
                else:
                    there = requests.ask_one(asked, target, but, payload, said, left_s)
                    if there is not None:
                        raise self._nobody(to, there, refusals, exclude)
                if asked.outcome is None or not asked.outcome.refused:
                    await settled.wait(left_s)
            finally:
                requests.forget(asked)
            if asked.reply is not None:
                return asked.reply
            self._raise_if_over(asked, timeout)
            assert asked.outcome is not None
            refusals[asked.client, asked.owner] = asked.outcome.reason
            but.add((asked.client, asked.owner))
            if not isinstance(to, str):
                raise UnreachableError(self._told(refusals))
        raise TimeoutError(f"no answer within {timeout:g} s; {self._told(refusals)}")

    def _but(self, to: object, exclude: Client | Member | None) -> set[InGroup]:
        """Who shall not be asked."""
        but = excluded(exclude)
        if but is None:
            return set()
        if not isinstance(to, str):
            raise ConfigError(
                f"exclude= with {to!r:.80}: it is for a channel, of which one is asked"
            )
        owner, client = but
        return {(client, owner)}

    def _target(self, who: Member | Address) -> To:
        if isinstance(who, Member):
            return To(self._scope, check_channel(who.channel), who.node, check_client(who.id))
        if isinstance(who, Address):
            return To(DEFAULT_SCOPE, "", who.node, check_client(who.client))
        raise ConfigError(f"cannot ask {who!r:.80}: name a channel, a Member, or an Address")

    def _nobody(
        self, channel: str, there: int, refusals: Mapping[InGroup, str], exclude: object
    ) -> NoMembersError | UnreachableError:
        """Why nobody more can be asked."""
        if refusals:
            return UnreachableError(self._told(refusals))
        if not there:
            other = "no member" if exclude is None else "no other member"
            return NoMembersError(f"{channel!r} has {other} whose node is up; nothing was sent")
        return UnreachableError(
            f"no link to the node of any of the {there} members of {channel!r}; nothing was sent"
        )

    def _told(self, refusals: Mapping[InGroup, str]) -> str:
        name_of = self._runtime.asker.requests.name_of
        said = [
            f"{client!r} on {name_of(owner)}: {why}" for (client, owner), why in refusals.items()
        ]
        if not said:
            return "nobody was asked"
        more = f" and {len(said) - 8} more" if len(said) > 8 else ""
        return f"nobody took it: {'; '.join(said[:8])}{more}"

    def _raise_if_over(self, asked: Asked, timeout: float) -> None:
        who = f"{asked.client!r} on {self._runtime.asker.requests.name_of(asked.owner)}"
        if asked.ended:
            raise ClosedError(f"this node was closed before {who} answered; it may have been done")
        if asked.outcome is not None and asked.outcome.refused:
            return
        if asked.gone:
            raise UnreachableError(f"{who} went away before it answered; it may have been done")
        took = "got it" if asked.outcome is Outcome.DELIVERED else "may have got it"
        raise TimeoutError(f"no answer within {timeout:g} s from {who}, which {took}")

    # ---------------------------------------------------------------- another node's client

    async def _invite(
        self,
        channel: str,
        member: Member,
        meta: bytes | None,
        group: str,
        timeout: float | None,
    ) -> float | None:
        """Have the client of `member` join, and wait until this node sees it; the time left."""
        self._runtime.check()
        wait_s = _INVITE_S if timeout is None else timeout
        until = monotonic() + wait_s
        target = To(self._scope, channel, member.node, check_client(member.id))
        requests = self._runtime.asker.requests
        before = requests.membership(target)
        settled = Settled()
        asked = Asked(settled.waker, settled.done)
        try:
            requests.invite(asked, target, meta, group, wait_s)
            if asked.outcome is None:
                await settled.wait(wait_s)
        finally:
            requests.forget(asked)
        self._raise_unless_joined(asked, f"{member.id!r} of {requests.name_of(member.node)}")

        def visible() -> bool:
            self._runtime.check()
            now = requests.membership(target)
            if now is None or meta is None or now[2] == meta:
                return now is not None
            return before is not None and now[:2] != before[:2]  # somebody else has changed it

        try:
            await wait_until(
                self._runtime.bell, visible, timeout_s=max(0.0, until - monotonic()), again_s=0.05
            )
        except TimeoutError:
            missing = {str(self._runtime.id): (self._runtime.name, "its owner's word is not here")}
            raise NotSeenError(missing=missing, waited_s=wait_s) from None
        return None if timeout is None else max(0.0, until - monotonic())

    def _raise_unless_joined(self, asked: Asked, who: str) -> None:
        match asked.outcome:
            case Outcome.DELIVERED:
                return
            case _ if asked.ended:
                raise ClosedError(f"this node was closed meanwhile; {who} may have joined")
            case Outcome.REFUSED_NOBODY:
                raise ClosedError(f"{who} is no open client of this scope; nothing was changed")
            case Outcome.REFUSED_FULL:
                raise QueueFullError(f"{who}: its node takes no more just now; nothing was changed")
            case Outcome() as outcome if outcome.refused:
                raise UnreachableError(f"{who}: {outcome.reason}; nothing was changed")
            case _:
                raise UnreachableError(f"{who}: no answer; it may have joined nevertheless")
