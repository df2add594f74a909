"""Uploads a file by a slot as Gajim does, with its library nbxmpp, and prints the address.

    nbxmpp_upload.py JID PASSWORD HOST:PORT FILE TYPE
"""

import sys
from pathlib import Path

import gi

gi.require_version("Soup", "3.0")
from gi.repository import GLib  # noqa: E402
from nbxmpp.client import Client  # noqa: E402
from nbxmpp.const import ConnectionProtocol, ConnectionType  # noqa: E402
from nbxmpp.http import HTTPSession  # noqa: E402
from nbxmpp.namespaces import Namespace  # noqa: E402
from nbxmpp.protocol import JID  # noqa: E402

TIME = 30  # seconds for all of it


class Upload:
    def __init__(self, jid: str, password: str, address: str, file: Path, kind: str) -> None:
        self.file, self.kind, self.loop, self.result = file, kind, GLib.MainLoop(), "no answer in time"
        own = JID.from_string(jid)
        self.domain = own.domain
        self.client = Client()
        self.client.set_username(own.localpart)
        self.client.set_domain(own.domain)
        self.client.set_password(password)
        self.client.set_custom_host(address, ConnectionProtocol.TCP, ConnectionType.START_TLS)
        self.client.set_ignore_tls_errors(True)
        self.session = HTTPSession()
        self.client.subscribe("connected", self.connected)
        self.client.subscribe("connection-failed", lambda *_: self.end("the connection failed"))
        self.client.subscribe("disconnected", lambda *_: self.end(f"disconnected: {self.client.get_error()}"))

    def run(self) -> str | None:
        """The address, or nothing; then `result` says why."""
        self.address = None
        GLib.timeout_add_seconds(TIME, self.loop.quit)
        self.client.connect()
        self.loop.run()
        return self.address

    def end(self, result: str) -> None:
        self.result = result
        self.loop.quit()

    def connected(self, *_) -> None:
        self.discovery = self.client.get_module("Discovery")
        self.discovery.disco_items(JID.from_string(self.domain), callback=self.items)

    def items(self, task) -> None:
        for item in task.finish().items:
            self.discovery.disco_info(item.jid, callback=self.info)

    def info(self, task) -> None:
        try:
            info = task.finish()
        except Exception:
            return  # A service that is not there: there are others.
        if not info.supports(Namespace.HTTPUPLOAD_0):
            return
        size = self.file.stat().st_size
        if (limit := info.httpupload_max_file_size) is None or size > limit:
            return self.end(f"the file is larger than {limit}")
        upload = self.client.get_module("HTTPUpload")
        upload.request_slot(info.jid, self.file.name, size, self.kind, callback=self.slot)

    def slot(self, task) -> None:
        try:
            slot = task.finish()
        except Exception as error:
            return self.end(f"no slot: {error}")
        request = self.session.create_request()
        for name, value in slot.headers.items():
            request.get_request_headers().append(name, value)
        request.set_request_body_from_path(self.kind, self.file)
        request.send("PUT", slot.put_uri, callback=lambda request: self.sent(request, slot.get_uri))

    def sent(self, request, address: str) -> None:
        if request.is_complete():
            self.address = address
        self.end(f"the PUT failed: {request.get_error_string()}")


def main() -> None:
    jid, password, address, file, kind = sys.argv[1:]
    upload = Upload(jid, password, address, Path(file), kind)
    if (address := upload.run()) is None:
        sys.exit(upload.result)
    print(address)


if __name__ == "__main__":
    main()
