"""Where journals live; one file per kind. See :mod:`fasttune.storage.base` for the contract."""

from fasttune.storage.base import Storage as Storage
from fasttune.storage.memory import MemoryStorage as MemoryStorage
from fasttune.storage.sqlite import SqliteStorage as SqliteStorage

__all__ = ["MemoryStorage", "SqliteStorage", "Storage"]
