"""Makes tasks whose name says in which cgroup they exit: truth.py ROUNDS CGROUP...

A task is named `cNNX`: NN is the index of the cgroup on the command line, X the way in which the task
came there. Prints `done N`, the number of tasks, when all of them have exited.
"""

import ctypes
import os
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
SYS_CLONE3 = 435
CLONE_INTO_CGROUP = 0x200000000
SIGCHLD = 17


class CloneArguments(ctypes.Structure):
    """`struct clone_args` of clone(2)."""
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
        "set_tid", "set_tid_size", "cgroup")]


def name(index, way):
    LIBC.prctl(PR_SET_NAME, f"c{index:02}{way}".encode(), 0, 0, 0)


def move(cgroup):
    with open(f"{cgroup}/cgroup.procs", "w") as procs:
        procs.write("0")


def child(body):
    """Forks a process that runs `body` and exits."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    return pid


def reap(pid):
    os.waitpid(pid, 0)


def forked(index, cgroup):
    """F: a fork without exec, in its parent's cgroup."""
    reap(child(lambda: name(index, "F")))


def executed(index, cgroup):
    """E: an exec, which names the task by the program: a link to true(1)."""
    program = f"/tmp/truth-{os.getppid()}/c{index:02}E"
    reap(os.posix_spawn(program, [program], {}))


def threaded(index, cgroup):
    """T: threads of one process."""
    threads = [threading.Thread(target=name, args=(index, "T")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def orphaned(index, cgroup):
    """D: a child of a child that exits first, reaped by a subreaper."""
    def orphan():
        child(lambda: name(index, "D"))
        name(index, "D")
    reap(child(orphan))
    os.wait()


def moved(index, cgroup):
    """M: a child that moves itself, without exec. It begins in the cgroup above."""
    reap(child(lambda: (move(f"{cgroup}/inner"), name(index, "N"))))


def moved_by_parent(index, cgroup):
    """P: a child that its parent moves, while it waits."""
    ready, go = os.pipe(), os.pipe()

    def body():
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        name(index, "N")
    pid = child(body)
    os.read(ready[0], 1)
    with open(f"{cgroup}/inner/cgroup.procs", "w") as procs:
        procs.write(str(pid))
    os.write(go[1], b"x")
    reap(pid)
    for descriptor in (*ready, *go):
        os.close(descriptor)


def cloned(index, cgroup):
    """C: a child that begins in another cgroup, by clone3(CLONE_INTO_CGROUP)."""
    directory = os.open(f"{cgroup}/inner", os.O_RDONLY | os.O_DIRECTORY)
    arguments = CloneArguments(flags=CLONE_INTO_CGROUP, exit_signal=SIGCHLD, cgroup=directory)
    pid = LIBC.syscall(SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if pid == 0:
        name(index, "N")
        os._exit(0)
    os.close(directory)
    reap(pid)


WAYS = (forked, executed, threaded, orphaned, moved, moved_by_parent, cloned)


def work(index, cgroup, rounds):
    move(cgroup)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    name(index, "W")
    for _ in range(rounds):
        for way in WAYS:
            way(index, cgroup)


def main():
    rounds, cgroups = int(sys.argv[1]), sys.argv[2:]
    programs = f"/tmp/truth-{os.getpid()}"
    os.mkdir(programs)
    try:
        for index in range(len(cgroups)):
            os.symlink("/bin/true", f"{programs}/c{index:02}E")
        workers = [child(lambda: work(index, cgroup, rounds)) for index, cgroup in enumerate(cgroups)]
        for worker in workers:
            reap(worker)
    finally:
        for index in range(len(cgroups)):
            os.unlink(f"{programs}/c{index:02}E")
        os.rmdir(programs)
    # Of each round: F, E, four threads, two tasks of D, M, P, C; and the worker itself.
    print("done", len(cgroups) * (rounds * 11 + 1), flush=True)


if __name__ == "__main__":
    main()
