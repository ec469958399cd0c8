"""A child that writes down each job before anybody hears that it has it: SIGKILL loses none.

What was in a client's queue dies with its process: an honest test has to know of it nevertheless.
"""

from __future__ import annotations

import asyncio
import os

from crdtpubsub import Message
from crdtpubsub.runtime import Mailbox
from tests.net.child import Child, main
from tests.net.cluster import Process


class JournallingChild(Child):
    """What its clients take is in a file, one number a line."""

    async def journal(self, path: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        plain = Mailbox.offer

        def offer(self: Mailbox, message: Message) -> bool:
            took = plain(self, message)
            if took:
                os.write(file, f"{message.data}\n".encode())  # in the kernel before it is answered
            return took

        Mailbox.offer = offer  # type: ignore[method-assign]


class Journalling(Process):
    module = "tests.net.journalling"


if __name__ == "__main__":
    asyncio.run(main(JournallingChild))
