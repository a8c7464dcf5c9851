#!/usr/bin/env python3
"""Runs a program under an OCI seccomp profile, without a container.

    under-seccomp.py PROFILE PROGRAM [ARGUMENT]...
    under-seccomp.py --check PROFILE

The program must be allowed execve, as in a container. With --check the profile is only read, turned
into a filter, and checked for what clustered-echo stands on.

Exit codes: those of the program; 1 if the profile is at fault, 2 for wrong usage, 77 if libseccomp is
not here.
"""

import ctypes
import ctypes.util
import json
import os
import sys

ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_KILL_PROCESS": 0x80000000}
ERRNO = 0x00050000
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
UNKNOWN_CALL = -1

# What a ring worker cannot do without, and what no node has any business with.
NEEDED = ["io_uring_setup", "io_uring_enter", "io_uring_register", "eventfd2", "getrandom"]
REFUSED = [
    "bpf", "init_module", "kexec_load", "mount", "open_by_handle_at", "perf_event_open",
    "process_vm_readv", "ptrace", "reboot", "setns", "unshare", "userfaultfd",
]  # fmt: skip


class Argument(ctypes.Structure):
    """`struct scmp_arg_cmp`"""

    _fields_ = [
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_two", ctypes.c_uint64),
    ]


class ProfileError(Exception):
    """The profile makes no sense."""


def action_of(rule, action_key, errno_key):
    name = rule[action_key]
    if name == "SCMP_ACT_ERRNO":
        return ERRNO | rule.get(errno_key, 1)
    if name not in ACTIONS:
        raise ProfileError(f"unknown action {name}")
    return ACTIONS[name]


def check(profile):
    if profile.get("defaultAction") != "SCMP_ACT_ERRNO":
        raise ProfileError("what is not listed must be refused")
    rules = profile["syscalls"]
    allowed = {
        name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]
    }
    for name in NEEDED:
        if name not in allowed:
            raise ProfileError(f"{name} is not allowed")
    for name in REFUSED:
        if name in allowed:
            raise ProfileError(f"{name} is allowed")
    seen = set()
    for rule in rules:
        for name in rule["names"]:
            # Several rules for one call are several conditions.
            if name in seen and not rule.get("args"):
                raise ProfileError(f"{name} is listed twice")
            seen.add(name)


def load_library():
    name = ctypes.util.find_library("seccomp")
    if name is None:
        print("under-seccomp: there is no libseccomp here", file=sys.stderr)
        sys.exit(77)
    library = ctypes.CDLL(name, use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Argument),
    ]
    return library


def build(library, profile):
    """The filter for this machine's own architecture."""
    context = library.seccomp_init(action_of(profile, "defaultAction", "defaultErrnoRet"))
    if not context:
        raise ProfileError("the default action is refused by libseccomp")
    for rule in profile["syscalls"]:
        action = action_of(rule, "action", "errnoRet")
        arguments = [
            Argument(a["index"], OPERATORS[a["op"]], a["value"], a.get("valueTwo", 0))
            for a in rule.get("args", [])
        ]
        array = (Argument * len(arguments))(*arguments)
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == UNKNOWN_CALL:
                raise ProfileError(f"there is no system call {name}")
            # Below that are calls that other architectures have.
            if number < UNKNOWN_CALL:
                continue
            result = library.seccomp_rule_add_array(context, action, number, len(array), array)
            if result < 0:
                raise ProfileError(f"{name}: {os.strerror(-result)}")
    return context


def main(arguments):
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    if len(arguments) < 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    checking = arguments[0] == "--check"
    path, *command = arguments[1:] if checking else arguments
    try:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
        if checking:
            check(profile)
        library = load_library()
        context = build(library, profile)
        if checking:
            print(f"{path}: {len(profile['syscalls'])} rules")
            return 0
        result = library.seccomp_load(context)
        if result < 0:
            raise ProfileError(f"the kernel refuses the filter: {os.strerror(-result)}")
    except (OSError, ValueError, KeyError, ProfileError) as error:
        print(f"under-seccomp: {path}: {error}", file=sys.stderr)
        return 1
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"under-seccomp: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
