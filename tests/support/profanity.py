"""Runs profanity in a terminal of its own, and lets it send a file.

    profanity.py FOLDER JID PASSWORD PORT SERVICE RECIPIENT FILE

FOLDER takes its configuration and its log. SERVICE is the upload service that it is to find. Ends with 0 when it has
sent an address, otherwise with the end of the log.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 30  # seconds for each step
AGAIN = 1  # seconds until Enter is pressed again


class Profanity:
    def __init__(self, folder: str, jid: str) -> None:
        environment = {**os.environ, "HOME": folder, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        environment |= {"XDG_CONFIG_HOME": f"{folder}/config", "XDG_DATA_HOME": f"{folder}/data"}
        self.log = f"{folder}/data/profanity/logs/profanity.log"
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("profanity", ["profanity", "-l", "DEBUG", "-a", jid], environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def logged(self) -> str:
        try:
            with open(self.log, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def wait(self, text: str, press: bool = False) -> None:
        """Waits until this is in the log. With `press`, presses Enter now and then: profanity loses keys at times."""
        deadline, pressed = time.monotonic() + PATIENCE, time.monotonic()
        while text not in self.logged():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                sys.exit(f"waited in vain for {text!r}; the end of the log:\n{self.logged()[-3000:]}")
            if press and time.monotonic() > pressed + AGAIN:
                os.write(self.fd, b"\r")
                pressed = time.monotonic()
            # A terminal that nobody reads stops the program.
            if select.select([self.fd], [], [], 0.05)[0]:
                os.read(self.fd, 65536)

    def enter(self, line: str) -> None:
        os.write(self.fd, line.encode() + b"\r")
        self.wait(f"Input received: {line}", press=True)


def write_account(folder: str, jid: str, password: str, port: str) -> None:
    path = f"{folder}/data/profanity"
    os.makedirs(path, exist_ok=True)
    lines = [f"[{jid}]", "enabled=true", f"jid={jid}", "server=127.0.0.1", f"port={port}"]
    lines += [f"password={password}", "tls.policy=disable"]
    with open(f"{path}/accounts", "w") as accounts:
        accounts.write("\n".join(lines) + "\n")


def main() -> None:
    folder, jid, password, port, service, recipient, file = sys.argv[1:]
    write_account(folder, jid, password, port)
    profanity = Profanity(folder, jid)
    profanity.wait(f"connection_features_received {service}")
    profanity.enter(f"/msg {recipient} hello")
    profanity.enter(f"/sendfile {file}")
    profanity.wait("<body>http")
    os.kill(profanity.pid, signal.SIGTERM)
    os.waitpid(profanity.pid, 0)


if __name__ == "__main__":
    main()
