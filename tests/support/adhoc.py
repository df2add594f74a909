"""Walks commands (XEP-0050) of a service with slixmpp, and prints what came back as JSON.

    adhoc.py JID PASSWORD HOST:PORT SERVICE WALKS

WALKS is a JSON array of [node, steps]. Each step is [action, fields]: next, prev, complete or cancel, and the values of
the form that is sent with it. A first step ["execute", fields] is sent with the first request. The result is an array
of the commands that are found, and for each walk an array of its replies.
"""

import asyncio
import json
import sys

import slixmpp

TIME = 30  # seconds for the log-in, and for each reply


def client(jid: str, password: str) -> slixmpp.ClientXMPP:
    xmpp = slixmpp.ClientXMPP(jid, password, plugin_config={"feature_mechanisms": {"unencrypted_plain": True}})
    xmpp.register_plugin("xep_0004")
    xmpp.register_plugin("xep_0050")
    xmpp.enable_starttls = False
    xmpp.enable_direct_tls = False
    xmpp.enable_plaintext = True
    return xmpp


def told(iq) -> dict:
    if iq["type"] == "error":
        return {"error": iq["error"]["condition"], "text": iq["error"]["text"]}
    command = iq["command"]
    form = command["form"]
    fields = {}
    for field in form.get_fields().values() if command.xml.find("{jabber:x:data}x") is not None else ():
        fields[field["var"]] = {
            "type": field["type"],
            "label": field["label"],
            "value": field["value"],
            "options": [option["value"] for option in field["options"]],
        }
    notes = [note[1] for note in command["notes"]]
    return {"status": command["status"], "actions": sorted(command["actions"]), "notes": notes, "fields": fields}


class Walker:
    def __init__(self, xmpp: slixmpp.ClientXMPP, service: str) -> None:
        self.xmpp, self.service = xmpp, service
        self.commands = xmpp.plugin["xep_0050"]

    def form(self, values: dict):
        form = self.xmpp.plugin["xep_0004"].make_form("submit")
        for name, value in values.items():
            form.add_field(var=name, ftype="text-multi" if isinstance(value, list) else "text-single", value=value)
        return form

    async def walk(self, node: str, steps: list) -> list:
        replies: asyncio.Queue = asyncio.Queue()

        def take(iq, session) -> None:
            replies.put_nowait((iq, session))

        session = {"next": take, "error": take}
        if steps and steps[0][0] == "execute":
            session["payload"] = [self.form(steps.pop(0)[1])]
        self.commands.start_command(self.service, node, session)
        seen = []
        for action, values in [*steps, (None, None)]:
            iq, session = await asyncio.wait_for(replies.get(), TIME)
            seen.append(told(iq))
            if iq["type"] == "error":
                self.commands.terminate_command(session)
                return seen
            if action is None:
                return seen
            session["payload"] = self.form(values)
            if action == "complete":
                self.commands.complete_command(session)
            elif action == "cancel":
                self.commands.cancel_command(session)
            else:
                self.commands.continue_command(session, direction=action)
        return seen

    async def found(self) -> dict:
        items = await self.commands.get_commands(self.service, timeout=TIME)
        return {node: name for _, node, name in items["disco_items"]["items"]}


async def main() -> None:
    jid, password, address, service, walks = sys.argv[1:]
    xmpp = client(jid, password)
    host, port = address.rsplit(":", 1)
    started = xmpp.wait_until("session_start", TIME)
    xmpp.connect(host, int(port))
    await started
    walker = Walker(xmpp, service)
    try:
        seen = [await walker.found()]
        for node, steps in json.loads(walks):
            seen.append(await walker.walk(node, steps))
        print(json.dumps(seen))
    finally:
        await xmpp.disconnect(wait=0)


if __name__ == "__main__":
    asyncio.run(main())
