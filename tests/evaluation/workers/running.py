"""Processes that were started by this one."""

from contextlib import suppress

import psutil


def processes(mark):
    """Return the numbers of those whose command line has something in it, in order."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end in between
            if mark in " ".join(process.cmdline()):
                found.append(process.pid)
    return sorted(found)


def listening(pid):
    """Return the addresses that a process and those that it started listen to."""
    first = psutil.Process(pid)
    found = set()
    for process in [first, *first.children(recursive=True)]:
        with suppress(psutil.Error):  # it may end in between
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip)
    return found
