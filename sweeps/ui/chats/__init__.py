"""Chats of the UI: each has a process of its own, ``paretune chat --json``, which holds its models in memory."""

from sweeps.ui.chats.chats import Chats, TooManyChats

__all__ = ["Chats", "TooManyChats"]
