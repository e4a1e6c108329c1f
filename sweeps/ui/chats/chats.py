"""All chats of a UI: how many there may be, and that abandoned ones end."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

from sweeps.ui.chats.chat import Chat
from sweeps.ui.chats.memory import memory_of

MAX_CHATS = 8
IDLE_SECONDS = 15 * 60.0
LOOK_SECONDS = 20.0


class TooManyChats(ValueError):  # noqa: N818
    """One more chat than there may be; the message says what to do."""


class Chats:
    """Chats live in the memory of the UI process; conversations are in the browsers."""

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd
        self._chats: dict[str, Chat] = {}
        self._looking: asyncio.Task[None] | None = None

    def new(self) -> Chat:
        """A chat without models. Raises :class:`TooManyChats`."""
        if len(self._chats) >= MAX_CHATS:
            raise TooManyChats(f"there are {MAX_CHATS} chats with models in memory; close one of them")
        if self._looking is None:
            self._looking = asyncio.create_task(self._end_abandoned())
        chat = Chat(secrets.token_hex(8), self._cwd, memory_of)
        self._chats[chat.id] = chat
        return chat

    def get(self, chat_id: str) -> Chat | None:
        return self._chats.get(chat_id)

    async def remove(self, chat_id: str) -> None:
        """Ends a chat and its process."""
        chat = self._chats.pop(chat_id, None)
        if chat is not None:
            await chat.close()

    async def close(self) -> None:
        """Ends all chats: the UI ends."""
        if self._looking is not None:
            self._looking.cancel()
        chats, self._chats = list(self._chats.values()), {}
        await asyncio.gather(*(chat.close() for chat in chats))

    async def _end_abandoned(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for chat in list(self._chats.values()):
                if not chat.busy and time.monotonic() - chat.used > IDLE_SECONDS:
                    await self.remove(chat.id)
