"""Runs profanity in a terminal of its own, and lets it send a file.

    profanity.py FOLDER JID PASSWORD PORT RECIPIENT FILE

FOLDER takes its configuration. Ends with 0 when profanity says that the file was uploaded, otherwise with 1; what it
showed is printed.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 30  # seconds for each step
ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78]|\r|\x0f")


class Terminal:
    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        # Wide and high enough that no address is broken into lines.
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 250, 0, 0))
        self.shown = b""

    def wait(self, *words: bytes) -> None:
        """Waits until one of these words is shown that was not before."""
        deadline = time.monotonic() + PATIENCE
        while not any(word in self.shown for word in words):
            left = deadline - time.monotonic()
            if left <= 0:
                self.fail(f"waited in vain for {words}")
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    self.fail("profanity ended")
                sys.stdout.buffer.write(data)
                self.shown = ESCAPES.sub(b"", self.shown + data)
        self.shown = b""

    def type(self, line: str) -> None:
        os.write(self.fd, line.encode() + b"\r")

    def fail(self, why: str) -> None:
        os.kill(self.pid, signal.SIGKILL)
        sys.exit(f"\n{why}; the last that it showed: {self.shown[-2000:]!r}")


def main() -> None:
    folder, jid, password, port, recipient, file = sys.argv[1:7]
    environment = {**os.environ, "HOME": folder, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    for name, path in (("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data")):
        environment[name] = os.path.join(folder, path)
        os.makedirs(os.path.join(environment[name], "profanity"), exist_ok=True)
    account = f"[{jid}]\nenabled=true\njid={jid}\nserver=127.0.0.1\nport={port}\npassword={password}\ntls.policy=disable\n"
    with open(os.path.join(environment["XDG_DATA_HOME"], "profanity", "accounts"), "w") as accounts:
        accounts.write(account)
    terminal = Terminal(["profanity", "-a", jid], environment)
    terminal.wait(b"logged in successfully")
    terminal.type(f"/msg {recipient} hello")
    terminal.wait(b"hello")
    terminal.type(f"/sendfile {file}")
    terminal.wait(b": done", b"100%", b"/upload/")
    terminal.type("/quit")
    os.waitpid(terminal.pid, 0)


if __name__ == "__main__":
    main()
