// @ts-check
/** @file The redred SDK. See docs/sdk.md. */

export { devToken, endStream, getStream, listStreams } from './api.js';
export { Chat } from './chat.js';
export { Connection } from './connection.js';
export { CloseCode, mayReconnect, RedredError } from './errors.js';
export { Inbox } from './inbox.js';
export { LiveChannel } from './live.js';
export { Notifications } from './notifications.js';
export { sendableCodecs } from './peer.js';
export { Publisher } from './publisher.js';
export { Room } from './room.js';
export { tickOf } from './room_state.js';
export { StreamDirectory } from './streams.js';
export { readClaims } from './token.js';
export { Viewer } from './viewer.js';
