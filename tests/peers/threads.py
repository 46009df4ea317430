"""Makes processes with threads whose name says how many threads they had: threads.py COUNT.

A process is named `tNNX`: NN is the number of its threads, X the way in which it ends. Prints
`done COUNT` when all of them have ended.
"""

import ctypes
import os
import platform
import random
import signal
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
SYS_EXIT = 60 if platform.machine() == "x86_64" else 93
MOST_THREADS = 6
# Processes that end at a time.
WORKERS = 4


def work(microseconds):
    """Uses a CPU, and waits for one a few times, outside Python's lock."""
    for _ in range(random.randint(0, 3)):
        LIBC.usleep(microseconds)


def joined(threads):
    """J: the threads have ended."""
    for thread in threads:
        thread.join()
    os._exit(0)


def group(threads):
    """G: ends its threads at any point of their work."""
    LIBC.usleep(random.randint(0, 200))
    os._exit(0)


def leader(threads):
    """L: the first thread ends before the others."""
    LIBC.syscall(SYS_EXIT, 0)


def killed(threads):
    """K: is killed at any point of its work."""
    LIBC.usleep(random.randint(0, 200))
    os.kill(os.getpid(), signal.SIGKILL)


WAYS = {"J": joined, "G": group, "L": leader, "K": killed}


def end_one():
    way, end = random.choice(list(WAYS.items()))
    count = random.randint(1, MOST_THREADS)
    LIBC.prctl(PR_SET_NAME, f"t{count + 1:02}{way}".encode(), 0, 0, 0)
    pause = random.randint(1, 100)
    threads = [threading.Thread(target=work, args=(pause,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    end(threads)


def end_many(count):
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                end_one()
            finally:
                os._exit(1)
        os.waitpid(pid, 0)


def main():
    count = int(sys.argv[1])
    workers = []
    for index in range(WORKERS):
        share = count // WORKERS + (index < count % WORKERS)
        pid = os.fork()
        if pid == 0:
            random.seed(index)
            end_many(share)
            os._exit(0)
        workers.append(pid)
    for pid in workers:
        os.waitpid(pid, 0)
    print("done", count, flush=True)


main()
