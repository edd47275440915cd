// @ts-check
/** @file The redred SDK. See docs/sdk.md. */

export { devToken, endStream, getStream, listStreams } from './api.js';
export { Connection } from './connection.js';
export { CloseCode, mayReconnect, RedredError } from './errors.js';
export { LiveChannel } from './live.js';
export { sendableCodecs } from './peer.js';
export { Publisher } from './publisher.js';
export { StreamDirectory } from './streams.js';
export { readClaims } from './token.js';
export { Viewer } from './viewer.js';
