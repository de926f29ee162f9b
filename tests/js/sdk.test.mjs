// Two people, three devices, one room: an ordinary life with matrix-js-sdk.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import * as sdk from "matrix-js-sdk";

import { bodies, login, record, register, roomWith, until } from "./lib/clients.mjs";
import { Server } from "./lib/server.mjs";

let server, alice, phone, bob, roomId;

before(async () => {
    server = await Server.start();
    await register(server, "alice");
    await register(server, "bob");
    alice = await login(server, "alice", { device: "laptop" });
    phone = await login(server, "alice", { device: "phone" });
    bob = await login(server, "bob", { device: "tablet" });
});

after(async () => {
    for (const client of [alice, phone, bob]) client?.stopClient();
    await server?.stop();
});

test("a second registration of a name is refused", async () => {
    await assert.rejects(register(server, "alice"), (error) => error.errcode === "M_USER_IN_USE");
});

test("both devices are listed", async () => {
    const { devices } = await alice.getDevices();
    const names = devices.map((device) => device.display_name);
    assert.ok(names.includes("laptop") && names.includes("phone"), names.join());
});

for (const [preset, rule, guests] of [
    ["private_chat", "invite", "can_join"],
    ["trusted_private_chat", "invite", "can_join"],
    ["public_chat", "public", "forbidden"],
]) {
    test(`a room with preset ${preset}`, async () => {
        const { room_id } = await alice.createRoom({ preset, name: preset, topic: "a topic" });
        const state = await alice.roomState(room_id);
        const content = (type) => state.find((event) => event.type === type)?.content;
        assert.equal(content("m.room.join_rules").join_rule, rule);
        assert.equal(content("m.room.guest_access").guest_access, guests);
        assert.equal(content("m.room.history_visibility").history_visibility, "shared");
        assert.equal(content("m.room.name").name, preset);
        assert.equal(content("m.room.topic").topic, "a topic");
        assert.equal(content("m.room.create").room_version, "12");
    });
}

test("invite and join", async () => {
    ({ room_id: roomId } = await alice.createRoom({ preset: "private_chat", name: "Kitchen", invite: ["@bob:hearth.test"] }));
    await roomWith(bob, roomId, "invite");
    await bob.joinRoom(roomId);
    const room = await roomWith(bob, roomId, "join");
    await until(bob, sdk.ClientEvent.Sync, () => room.name === "Kitchen", "the room's name");
    await roomWith(phone, roomId, "join");
});

test("200 messages both ways, in order, none lost, none doubled", async () => {
    const views = [alice, phone, bob].map((client) => ({ client, seen: record(client, roomId) }));
    const send = async (client, who) => {
        const ids = [];
        for (let i = 0; i < 100; i++) ids.push((await client.sendTextMessage(roomId, `${who} ${i}`)).event_id);
        return ids;
    };
    const [fromAlice, fromBob] = await Promise.all([send(alice, "alice"), send(bob, "bob")]);
    for (const { client, seen } of views) {
        const others = client === bob ? fromAlice : client === alice ? fromBob : [...fromAlice, ...fromBob];
        await until(client, sdk.ClientEvent.Sync, () => others.every((id) => seen.includes(id)), "all messages");
        const room = client.getRoom(roomId);
        await until(client, sdk.ClientEvent.Sync, () => bodies(room).filter((body) => /^(alice|bob) \d/.test(body)).length >= 200, "all in the timeline");
        const timeline = room.getLiveTimeline().getEvents().map((event) => event.getId());
        assert.equal(new Set(timeline).size, timeline.length, "an event stands twice in the timeline");
        for (const ids of [fromAlice, fromBob]) {
            assert.deepEqual(timeline.filter((id) => ids.includes(id)), ids, "a sender's messages are out of order");
        }
        assert.equal(new Set(seen).size, seen.length, "an event arrived twice");
    }
    // A device that only reads sees the server's order. (A sender's own view keeps its local echoes where they are.)
    const page = await phone.createMessagesRequest(roomId, null, 500, "b");
    const all = new Set([...fromAlice, ...fromBob]);
    const server = page.chunk.map((event) => event.event_id).reverse().filter((id) => all.has(id));
    const read = phone.getRoom(roomId).getLiveTimeline().getEvents().map((event) => event.getId()).filter((id) => all.has(id));
    assert.deepEqual(read, server);
});

test("edit, reaction and redaction reach the other side", async () => {
    const { event_id } = await alice.sendTextMessage(roomId, "teh soup");
    const room = bob.getRoom(roomId);
    const find = (id) => room.findEventById(id);
    await until(bob, sdk.ClientEvent.Sync, () => find(event_id), "the message");
    await alice.sendMessage(roomId, {
        msgtype: "m.text",
        body: "* the soup",
        "m.new_content": { msgtype: "m.text", body: "the soup" },
        "m.relates_to": { rel_type: "m.replace", event_id },
    });
    await until(bob, sdk.ClientEvent.Sync, () => find(event_id).getContent().body === "the soup", "the edit");

    const reaction = await bob.sendEvent(roomId, "m.reaction", {
        "m.relates_to": { rel_type: "m.annotation", event_id, key: "👍" },
    });
    await until(alice, sdk.ClientEvent.Sync, () => alice.getRoom(roomId).relations
        .getChildEventsForEvent(event_id, "m.annotation", "m.reaction")?.getRelations().length === 1, "the reaction");
    const listed = await alice.relations(roomId, event_id, "m.annotation", "m.reaction");
    assert.deepEqual(listed.events.map((event) => event.getId()), [reaction.event_id]);

    await alice.redactEvent(roomId, event_id, undefined, { reason: "burnt" });
    await until(bob, sdk.ClientEvent.Sync, () => find(event_id).isRedacted(), "the redaction");
    const fetched = await bob.fetchRoomEvent(roomId, event_id);
    assert.deepEqual(fetched.content, {});
    assert.equal(fetched.unsigned.redacted_because.content.reason, "burnt");
});

test("a thread has its replies and its summary", async () => {
    const root = (await alice.sendTextMessage(roomId, "who cooks?")).event_id;
    for (const body of ["me", "no, me"]) {
        await bob.sendMessage(roomId, root, {
            msgtype: "m.text",
            body,
            "m.relates_to": { rel_type: "m.thread", event_id: root, is_falling_back: true, "m.in_reply_to": { event_id: root } },
        });
    }
    const room = alice.getRoom(roomId);
    await until(alice, sdk.ClientEvent.Sync, () => room.getThread(root)?.length === 2, "two replies in the thread");
    const fetched = await alice.fetchRoomEvent(roomId, root);
    assert.equal(fetched.unsigned["m.relations"]["m.thread"].count, 2);
    const listed = await alice.createThreadListMessagesRequest(roomId, null, 10);
    assert.deepEqual(listed.chunk.map((event) => event.event_id), [root]);
});

test("typing and receipts", async () => {
    await bob.sendTyping(roomId, true, 20_000);
    const room = alice.getRoom(roomId);
    await until(alice, sdk.ClientEvent.Sync, () => room.getMember("@bob:hearth.test")?.typing, "bob typing");
    await bob.sendTyping(roomId, false, 0);
    await until(alice, sdk.ClientEvent.Sync, () => !room.getMember("@bob:hearth.test")?.typing, "bob not typing");

    const { event_id } = await alice.sendTextMessage(roomId, "read me");
    const theirs = await until(bob, sdk.ClientEvent.Sync, () => bob.getRoom(roomId).findEventById(event_id), "the message");
    await until(bob, sdk.ClientEvent.Sync, () => bob.getRoom(roomId).getUnreadNotificationCount("total") > 0, "unread count");
    await bob.sendReadReceipt(theirs);
    await until(alice, sdk.ClientEvent.Sync, () => room.getEventReadUpTo("@bob:hearth.test") === event_id, "the receipt");
    await until(bob, sdk.ClientEvent.Sync, () => bob.getRoom(roomId).getUnreadNotificationCount("total") === 0, "no unread");
});

test("leave, rejoin by invite, and paginate to the beginning", async () => {
    await bob.leave(roomId);
    await roomWith(bob, roomId, "leave");
    await alice.sendTextMessage(roomId, "while bob was away");
    await alice.invite(roomId, "@bob:hearth.test");
    await roomWith(bob, roomId, "invite");
    await bob.joinRoom(roomId);
    await roomWith(bob, roomId, "join");

    const ids = [];
    let from = null;
    let types = [];
    do {
        const page = await bob.createMessagesRequest(roomId, from, 50, "b");
        ids.push(...page.chunk.map((event) => event.event_id));
        types.push(...page.chunk.map((event) => event.type));
        from = page.end;
    } while (from);
    assert.equal(new Set(ids).size, ids.length, "pagination repeats events");
    assert.equal(types.at(-1), "m.room.create", "pagination ends at the room's first event");
    assert.ok(types.filter((type) => type === "m.room.message").length >= 200);
});

test("a restart in the middle loses nothing", async () => {
    const seen = record(bob, roomId);
    const first = (await alice.sendTextMessage(roomId, "before the restart")).event_id;
    await server.restart();
    // The same transaction id after the restart is the same event.
    const txn = "across-the-restart";
    const once = (await alice.sendEvent(roomId, null, "m.room.message", { msgtype: "m.text", body: "after" }, txn)).event_id;
    await server.restart();
    const again = await alice.http.authedRequest("PUT",
        `/rooms/${encodeURIComponent(roomId)}/send/m.room.message/${txn}`, undefined, { msgtype: "m.text", body: "after" });
    assert.equal(again.event_id, once);
    await until(bob, sdk.ClientEvent.Sync, () => [first, once].every((id) => seen.includes(id)), "both messages");
    assert.equal(new Set(seen).size, seen.length);
});

test("logout ends a device", async () => {
    phone.stopClient();
    await phone.logout(true);
    await assert.rejects(phone.whoami(), (error) => error.errcode === "M_UNKNOWN_TOKEN");
    await alice.whoami();
});
