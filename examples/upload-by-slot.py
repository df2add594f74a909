#!/usr/bin/env python3
"""Uploads a file by a slot (XEP-0363) and prints its address.

    upload-by-slot.py JID PASSWORD HOST:PORT FILE [PURPOSE]

PURPOSE is message, profile, ephemeral or permanent. The upload service is found among the items of the user's domain.
It needs slixmpp and aiohttp (scripts/install-python-clients installs both), and speaks no TLS: for trials only.
"""

import asyncio
import sys
from pathlib import Path

import slixmpp
from slixmpp.exceptions import IqError

TIME = 30  # seconds for the log-in, and for the upload


def client(jid: str, password: str) -> slixmpp.ClientXMPP:
    xmpp = slixmpp.ClientXMPP(jid, password, plugin_config={"feature_mechanisms": {"unencrypted_plain": True}})
    xmpp.register_plugin("xep_0363")
    xmpp.enable_starttls = False
    xmpp.enable_direct_tls = False
    xmpp.enable_plaintext = True
    return xmpp


async def upload(jid: str, password: str, address: str, file: Path, purpose: str | None) -> str:
    xmpp = client(jid, password)
    host, port = address.rsplit(":", 1)
    started = xmpp.wait_until("session_start", TIME)
    xmpp.connect(host, int(port))
    await started
    try:
        return await xmpp.plugin["xep_0363"].upload_file(file, purpose=purpose, timeout=TIME)
    finally:
        await xmpp.disconnect(wait=0)


def main() -> None:
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    jid, password, address, file = sys.argv[1:5]
    purpose = sys.argv[5] if len(sys.argv) == 6 else None
    try:
        print(asyncio.run(upload(jid, password, address, Path(file), purpose)))
    except IqError as error:
        # The server's words are for people.
        sys.exit(f"{error.condition}: {error.text}")
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
