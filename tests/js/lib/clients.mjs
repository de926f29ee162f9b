// Accounts and clients of matrix-js-sdk, and conditions to wait for.
import "./node20.mjs";

import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

import { REGISTRATION_TOKEN } from "./server.mjs";

if (!process.env.HEARTH_TEST_LOG) logger.disableAll?.();

/** Longest that any condition may take: a bound for failures, never a wait. */
const PATIENCE = 60_000;

/** Registers through user-interactive authentication, as an application does. */
export async function register(server, name) {
    const client = sdk.createClient({ baseUrl: server.baseUrl });
    const body = { username: name, password: `${name}-password`, initial_device_display_name: "first device" };
    let session;
    try {
        await client.registerRequest(body);
        throw new Error("registration did not ask for a token");
    } catch (error) {
        if (error.httpStatus !== 401) throw error;
        session = error.data.session;
    }
    return client.registerRequest({
        ...body,
        auth: { type: "m.login.registration_token", token: REGISTRATION_TOKEN, session },
    });
}

/** Logs in on a new device and starts syncing. */
export async function login(server, name, options = {}) {
    const anonymous = sdk.createClient({ baseUrl: server.baseUrl });
    const session = await anonymous.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: name },
        password: `${name}-password`,
        initial_device_display_name: options.device ?? "device",
    });
    const client = sdk.createClient({
        baseUrl: server.baseUrl,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        timelineSupport: true,
    });
    await client.startClient({ initialSyncLimit: 500, threadSupport: true, lazyLoadMembers: true, pollTimeout: 10_000 });
    await until(client, sdk.ClientEvent.Sync, () => client.isInitialSyncComplete(), "initial sync");
    return client;
}

/** Resolves with the first truthy value of `condition`, looked at now and after every `event`. */
export function until(emitter, event, condition, what) {
    return new Promise((resolve, reject) => {
        const done = (finish, value) => {
            clearTimeout(timer);
            emitter.off(event, check);
            finish(value);
        };
        const check = () => {
            let value;
            try {
                value = condition();
            } catch (error) {
                return done(reject, error);
            }
            if (value) done(resolve, value);
        };
        const timer = setTimeout(() => done(reject, new Error(`waited in vain for: ${what}`)), PATIENCE);
        emitter.on(event, check);
        check();
    });
}

/** The room, once the client knows it with `membership`. */
export function roomWith(client, roomId, membership) {
    return until(
        client,
        sdk.ClientEvent.Sync,
        () => client.getRoom(roomId)?.getMyMembership() === membership && client.getRoom(roomId),
        `${membership} of ${roomId}`,
    );
}

/** Bodies of the messages of a room's live timeline. */
export function bodies(room) {
    return room
        .getLiveTimeline()
        .getEvents()
        .filter((event) => event.getType() === "m.room.message" && !event.status)
        .map((event) => event.getContent().body);
}

/** Records every message that arrives by sync, in order, to prove that none is lost or doubled. */
export function record(client, roomId) {
    const seen = [];
    client.on(sdk.RoomEvent.Timeline, (event, room, toStart, removed, data) => {
        if (room?.roomId !== roomId || toStart || !data.liveEvent) return;
        if (event.getType() === "m.room.message" && !event.status) seen.push(event.getId());
    });
    return seen;
}
