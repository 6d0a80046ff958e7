"""The second wall: before a process loads an unknown network, it gives up the rights that the job does not need.

Landlock of Linux leaves the process only the files that the job needs, to read or to write. seccomp refuses sockets
(unless an image is at an address), new programs, and the system calls that change other processes or the permissions,
owners and times of files, which Landlock does not cover. Neither needs a privilege and neither can be undone, so only
processes of this program restrict themselves (:func:`may_be_restricted`). See landlock(7) and seccomp(2).
"""

import ctypes
import errno
import os
import platform
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..files.scratch import folders_in_use, scratch_folder

_PR_SET_NO_NEW_PRIVS = 38

# landlock.h: system calls (the same numbers on all machines), and access rights.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 4, 1 << 13, 1 << 14, 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1  # of version 1
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP_BIND, _TCP_CONNECT = 1 << 0, 1 << 1  # since version 4
_SCOPES = 0b11  # abstract sockets and signals stay within the process, since version 6
_LATER_RIGHTS = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))  # by the version of Landlock that added them

_PLACE_ONLY: int = getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0)  # flags of open(2) on Linux

# Numbers of system calls on each machine, from asm/unistd.h. Calls since Linux 5.1 have the same number on both.
_MACHINES = ("x86_64", "aarch64")
_SOCKET, _FCNTL, _IOCTL, _SECCOMP = (41, 198), (72, 25), (16, 29), (317, 277)
_PRLIMIT, _KILL, _TGKILL = (302, 261), (62, 129), (234, 131)
_REFUSED: tuple[tuple[Iterable[int], Iterable[int]], ...] = (
    ((59, 322), (221, 281)),  # execve, execveat
    ((101, 310, 311), (117, 270, 271)),  # ptrace, process_vm_readv, process_vm_writev
    ((90, 91, 268), (52, 53)),  # chmod, fchmod, fchmodat
    ((92, 93, 94, 260), (54, 55)),  # chown, fchown, lchown, fchownat
    ((132, 235, 261, 280), (88,)),  # utime, utimes, futimesat, utimensat
    (range(188, 200), range(5, 17)),  # setxattr to fremovexattr: extended attributes
    ((76,), (45,)),  # truncate, which Landlock covers since version 3
    ((*range(29, 32), *range(64, 72), 220), range(186, 198)),  # shmget to msgctl: System V memory, semaphores, messages
    ((240, 241), (180, 181)),  # mq_open, mq_unlink: POSIX messages
    ((248, 249, 250), (217, 218, 219)),  # add_key, request_key, keyctl: keys of the user
    ((200, 129, 297), (130, 138, 240)),  # tkill, rt_sigqueueinfo, rt_tgsigqueueinfo
    ((141, 251), (140, 30)),  # setpriority, ioprio_set
    ((142, 144, 314), (118, 119, 274)),  # sched_setparam, sched_setscheduler, sched_setattr
)
# io_uring_setup (io_uring opens sockets without the call socket), pidfd_send_signal, pidfd_getfd, fchmodat2,
# setxattrat to removexattrat, file_setattr.
_REFUSED_SINCE_5_1 = (425, 424, 438, 452, *range(463, 467), 469)
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_F_SETOWN, _F_SETOWN_EX = 8, 15  # name the process that gets the signals of a file
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # put characters into the input of a terminal, which its shell then runs
_OFFSET_OF_ARCHITECTURE, _OFFSET_OF_ARGUMENTS = 4, 16  # in struct seccomp_data, with 8 bytes per argument
_X32 = 0x40000000  # the second set of system calls on x86-64

_REFUSALS = (os.strerror(errno.EACCES), os.strerror(errno.EPERM))
_SYSTEM = ("/usr", "/lib", "/lib64", "/proc", "/sys", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts")
# Names of servers and certificates, for images at addresses.
_NETWORK = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_AMD = Path("/dev/kfd")
_SHARED_MEMORY = Path("/dev/shm")  # of all programs of the user


@dataclass(frozen=True)
class Walls:
    """Restrictions of a process. ``landlock`` is the version of the kernel, 0 without Landlock.

    ``network`` is true if the process may use the internet all the same.
    """

    landlock: int = 0
    seccomp: bool = False
    reason: str = ""
    network: bool = False

    def in_words(self) -> str:
        """Return the restrictions for the user, e.g. ``Landlock 6 and seccomp``."""
        walls = {f"Landlock {self.landlock}": self.landlock, "seccomp": self.seccomp}
        found = " and ".join(name for name, stands in walls.items() if stands) or f"none: {self.reason}"
        return f"{found}, with the network" if self.network else found


_own_process = False
_standing = Walls(reason="this process does not belong to the command line")


def may_be_restricted() -> None:
    """Let :func:`restricted` restrict this process. Only for entry points of this program."""
    global _own_process
    _own_process = True


def walls() -> Walls:
    """Return the restrictions of this process."""
    return _standing


def missing_on_this_system() -> str:
    """Return a line for the user where no sandbox is possible around this process, else an empty text.

    Without Landlock and seccomp a container of Linux has none either, but there the administrator decides.
    """
    if not _own_process or sys.platform == "linux":
        return ""
    return f"There is no sandbox on {_system()}: the network runs with your rights. Page Trust tells what protects you."


def _system() -> str:
    return {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, platform.system())


def advice(error: BaseException) -> str:
    """Return advice for the user where the restrictions may have caused an error, else an empty text."""
    is_refusal = isinstance(error, PermissionError) or any(text in str(error) for text in _REFUSALS)
    if not is_refusal or not (_standing.landlock or _standing.seccomp):
        return ""
    return (
        " The sandbox leaves a model only the files that the run needs, and no network. If you trust the model with "
        "more, add --no-sandbox."
    )


@contextmanager
def restricted(
    read: Iterable[Path], write: Iterable[Path], wanted: bool = True, network: bool = False, gpu: bool = False
) -> Iterator[None]:
    """Restrict this process to these files and folders, those of Python and the system, and a new temporary folder.

    In the folders ``write`` the process may make, change and remove files; a folder that does not exist yet cannot be
    made later. The restrictions stay after the block; only the temporary folder ends with it. With ``wanted`` false
    nothing is restricted. With ``network`` the process may connect to servers. With ``gpu`` it may use the GPUs.
    """
    global _standing
    if not wanted:
        _standing = Walls(reason="--no-sandbox")
    if not wanted or not _own_process:
        yield
        return
    with scratch_folder() as scratch:
        tempfile.tempdir = str(scratch)
        fonts = _font_cache()
        if fonts is None:
            os.environ["MPLCONFIGDIR"] = str(scratch)
        _standing = _restrict(
            [*_own_files(), *filter(None, [fonts]), *read],
            [*(folder.absolute() for folder in write), *folders_in_use()],
            network,
            gpu,
        )
        yield


def _font_cache() -> Path | None:
    """Return the folder with matplotlib's list of fonts, if it exists. Its name was tested with matplotlib 3.11.2."""
    named, cache = os.environ.get("MPLCONFIGDIR"), os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # the user has no home folder
        folder = Path(named) if named else Path(cache or Path.home() / ".cache") / "matplotlib"
        if any(folder.glob("fontlist-*.json")):
            return folder
    return None


def _own_files() -> Iterator[Path]:
    """Yield the files and folders of Python, its packages and the libraries of the system.

    ``python -m`` puts the current folder on the path. It holds the user's files, and is left out.
    """
    yield from map(Path, (sys.prefix, sys.base_prefix, *_SYSTEM))
    yield from (Path(entry) for entry in sys.path if entry and not _is_current_folder(entry))
    yield Path(__file__).parents[1]  # the whole package, which may lie in the current folder


def _is_current_folder(path: str) -> bool:
    try:
        return Path(path).samefile(os.curdir)
    except OSError:  # one of them is not there
        return False


def _restrict(read: Iterable[Path], write: Sequence[Path], network: bool, gpu: bool) -> Walls:
    if sys.platform != "linux":
        return Walls(reason=f"{_system()} has neither Landlock nor seccomp")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return Walls(reason=f"the kernel refused them ({os.strerror(ctypes.get_errno())})")
    if network:
        read = [*read, *map(Path, _NETWORK)]
    nvidia = _nvidia_devices() if gpu else []
    devices = [*map(Path, _DEVICES), *nvidia]
    if gpu:
        devices += [Path("/dev/dri"), _AMD]
    # CUDA and ROCm exchange data with their services in shared memory. No engine needs it on the CPU.
    if nvidia or (gpu and _AMD.exists()):
        devices.append(_SHARED_MEMORY)
    stand = _landlock(libc, read, write, devices, network), _seccomp(libc, network, local=bool(nvidia))
    return Walls(*stand, "the kernel offers neither Landlock nor seccomp", network and any(stand))


def _nvidia_devices() -> list[Path]:
    """Return the device files of NVIDIA GPUs. A restricted process cannot list them."""
    return list(Path("/dev").glob("nvidia*"))


def _landlock(
    libc: ctypes.CDLL, read: Iterable[Path], write: Sequence[Path], devices: Sequence[Path], network: bool
) -> int:
    """Restrict the files of this process. Return the version of Landlock, 0 where the kernel has none."""
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return 0
    handled = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS:
        handled |= right if version >= since else 0
    tcp = _TCP_BIND if network else _TCP_BIND | _TCP_CONNECT
    numbers = [handled, tcp if version >= 4 else 0, _SCOPES if version >= 6 else 0]
    attributes = struct.pack("<3Q", *numbers)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules: int = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return 0
    try:
        for path in read:
            _allow(libc, rules, path, _READ_FILE | _READ_DIR)
        for path in (*write, *devices):
            _allow(libc, rules, path, handled & ~_EXECUTE)
        for path in write:
            if _may_be_removed(path):
                _allow(libc, rules, path.parent, _REMOVE_DIR)
        failed = libc.syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return 0 if failed else version


def _may_be_removed(folder: Path) -> bool:
    """Return whether the program may remove the folder at its end: a temporary folder, or an empty output folder."""
    return folder in folders_in_use() or (folder.is_dir() and next(folder.iterdir(), None) is None)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, _PLACE_ONLY)
    except UnicodeEncodeError:  # in an ASCII locale Python cannot open this name at all
        return
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):  # nothing to allow
            return
        raise
    try:
        own = rights if os.path.isdir(place) else rights & _OF_FILES  # noqa: PTH112 (pathlib takes no descriptor)
        rule = struct.pack("<Qi", own, place)
        if libc.syscall(_ADD_RULE, rules, _RULE_PATH, rule, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(place)


def _seccomp(libc: ctypes.CDLL, network: bool, local: bool) -> bool:
    """Refuse the system calls that the job does not need (EPERM), and return whether that worked.

    With ``local``, sockets within the machine stay, because CUDA reaches its services through them. With ``network``,
    sockets of the internet stay. The CPU affinity of other processes stays open: OpenMP places its
    threads by their ids, which a filter cannot tell from ids of other processes.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        return False
    load, equal, at_least, finish = 0x20, 0x15, 0x35, 0x06  # BPF: LD|W|ABS, JMP|JEQ|K, JMP|JGE|K, RET|K
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
    column, own = _MACHINES.index(machine), os.getpid()
    families = [_AF_UNIX] if local else []
    families += [_AF_INET, _AF_INET6] if network else []
    # A call, the position of its argument, and the answers to these values and to all others. The filter compares the
    # low 32 bits of an argument, because Linux ignores the high ones of these arguments.
    checks = (
        (_SOCKET, 0, families, allow, refuse),
        (_PRLIMIT, 0, [0, own], allow, refuse),
        (_KILL, 0, [own], allow, refuse),
        (_TGKILL, 0, [own], allow, refuse),
        (_FCNTL, 1, [_F_SETOWN, _F_SETOWN_EX], refuse, allow),
        (_IOCTL, 1, [_TIOCSTI, _TIOCLINUX], refuse, allow),
    )
    program = [
        (load, 0, 0, _OFFSET_OF_ARCHITECTURE),
        (equal, 1, 0, _ARCHITECTURES[machine]),
        (finish, 0, 0, kill),
        (load, 0, 0, 0),  # the number of the call
        (at_least, 0, 1, _X32),
        (finish, 0, 0, refuse),
    ]
    for call in (*(number for group in _REFUSED for number in group[column]), *_REFUSED_SINCE_5_1):
        program += [(equal, 0, 1, call), (finish, 0, 0, refuse)]
    for calls, position, values, answer, other_answer in checks:
        count = len(values)
        program += [
            (equal, 0, count + 3, calls[column]),
            (load, 0, 0, _OFFSET_OF_ARGUMENTS + 8 * position),
            *((equal, count - number, 0, value) for number, value in enumerate(values)),
            (finish, 0, 0, other_answer),
            (finish, 0, 0, answer),
        ]
    program.append((finish, 0, 0, allow))
    code = b"".join(struct.pack("<HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    description = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(buffer))
    every_thread = 1
    failed: int = libc.syscall(_SECCOMP[column], 1, every_thread, description)
    return failed == 0
